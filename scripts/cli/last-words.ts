import { manyLines } from "../../worker-agent/terminal-text.ts";
import { systemReason, unexpectedWords } from "../runtime/failure-words.ts";
import { EXIT } from "./command.ts";
import { withoutSecrets } from "./secrets.ts";

let isGuarded = false;

/**
 * From here on this process ends with a sentence and never with a stack, whatever nobody has caught. A pipe whose reader
 * is gone ends it as a shell expects; a disk that is full, with words on stderr.
 */
export function guardProcess(): void {
  if (isGuarded) return;
  isGuarded = true;
  process.stdout.on("error", (error) => {
    if ("code" in error && error.code === "EPIPE") process.exit(EXIT.brokenPipe);
    const reason = systemReason(error) ?? error.message;
    console.error(`What this program says cannot be written: ${reason}.`);
    process.exit(EXIT.failed);
  });
  // There is nobody left to tell. What the program is there for goes on.
  process.stderr.on("error", () => {});
  process.on("uncaughtException", (error) => {
    console.error(lastWords(error));
    process.exit(EXIT.failed);
  });
}

/** What nobody expected, for a person: no stack unless it is asked for, and no secret of this environment. */
export function lastWords(error: unknown, env: NodeJS.ProcessEnv = process.env): string {
  const stack = env.LIGAND_STACK && error instanceof Error ? `\n${error.stack}` : "";
  return manyLines(withoutSecrets(unexpectedWords(error) + stack, env));
}

/** All that was said to stdout is written: only then is known whether it can be. */
export function written(): Promise<void> {
  return new Promise((resolve) => process.stdout.write("", () => resolve()));
}
