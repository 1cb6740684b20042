import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { SECRETS } from "../../worker-agent/cli/shared/secrets.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";

const MIN_CHARS = 12;

/** Reads LIGAND_PASSPHRASE, or asks without echo. A new passphrase is asked for twice and must be long enough. */
export async function readPassphrase(kind: "new" | "known"): Promise<string> {
  const given = process.env[SECRETS.passphrase.variable] || (await askTwice(kind));
  if (kind === "new" && given.length < MIN_CHARS) {
    throw new UsageError(
      `The passphrase must have at least ${MIN_CHARS} characters: it protects the identity of the pool.`,
    );
  }
  // Nobody can type a control character later. An existing passphrase with one still opens its file.
  if (kind === "new" && /\p{Cc}/u.test(given)) {
    throw new UsageError("The passphrase contains a line break or a control character. Choose one that can be typed.");
  }
  return given;
}

async function askTwice(kind: "new" | "known"): Promise<string> {
  if (!process.stdin.isTTY) throw new UsageError("Which passphrase? Set LIGAND_PASSPHRASE, or run this in a terminal.");
  const first = await ask("Passphrase: ");
  if (kind === "new" && first !== (await ask("Again: "))) throw new UsageError("The two passphrases differ.");
  return first;
}

async function ask(question: string): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  // The prompt comes after echo is off, so that even a fast typist's input is not shown.
  process.stderr.write(question);
  const interrupted = new AbortController();
  terminal.once("SIGINT", () => interrupted.abort());
  try {
    return await terminal.question("", { signal: interrupted.signal });
  } catch {
    throw new UsageError("No passphrase was given.");
  } finally {
    terminal.close();
    process.stderr.write("\n");
  }
}
