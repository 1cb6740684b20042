import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { SECRETS } from "../../worker-agent/cli/shared/secrets.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";

const MIN_CHARS = 12;

/** Reads LIGAND_PASSPHRASE, or prompts without echo. A new passphrase is entered twice and must be long enough. */
export async function readPassphrase(kind: "new" | "known"): Promise<string> {
  const given = process.env[SECRETS.passphrase.variable] || (await promptForPassphrase(kind));
  if (kind === "new" && given.length < MIN_CHARS) {
    throw new UsageError(
      `The passphrase must have at least ${MIN_CHARS} characters: it protects the identity of the pool. Choose a longer one.`,
    );
  }
  // A person cannot type a control character later. An existing passphrase that contains one still opens its file.
  if (kind === "new" && /\p{Cc}/u.test(given)) {
    throw new UsageError("The passphrase contains a line break or a control character. Choose one that can be typed.");
  }
  return given;
}

async function promptForPassphrase(kind: "new" | "known"): Promise<string> {
  if (!process.stdin.isTTY)
    throw new UsageError("No passphrase is set. Set LIGAND_PASSPHRASE, or run this in a terminal.");
  const first = await prompt("Passphrase: ");
  if (kind === "new" && first !== (await prompt("Again: ")))
    throw new UsageError("The two passphrases differ. Run the command again.");
  return first;
}

async function prompt(question: string): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  // The prompt comes after echo is off, so that input is never shown.
  process.stderr.write(question);
  const interrupted = new AbortController();
  terminal.once("SIGINT", () => interrupted.abort());
  try {
    return await terminal.question("", { signal: interrupted.signal });
  } catch {
    throw new UsageError("No passphrase was given. Run the command again, or set LIGAND_PASSPHRASE.");
  } finally {
    terminal.close();
    process.stderr.write("\n");
  }
}
