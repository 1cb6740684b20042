import { manyLines } from "../../terminal-text.ts";
import { EXIT } from "./command.ts";
import { withoutSecrets } from "./secrets.ts";
import { formatUnexpected, systemReason } from "./system-reason.ts";

let isInstalled = false;

/**
 * From here on an uncaught error ends the process with a sentence instead of a stack. A pipe whose reader has closed
 * ends it with the exit code that a shell expects; a full disk ends it with a message on stderr.
 */
export function handleUncaughtErrors(): void {
  if (isInstalled) return;
  isInstalled = true;
  process.stdout.on("error", (error) => {
    if ("code" in error && error.code === "EPIPE") process.exit(EXIT.brokenPipe);
    const reason = systemReason(error) ?? error.message;
    console.error(`Cannot write to standard output: ${reason}.`);
    process.exit(EXIT.failed);
  });
  // If stderr is closed, there is nowhere to report to. The program continues.
  process.stderr.on("error", () => {});
  process.on("uncaughtException", (error) => {
    console.error(formatUncaught(error));
    process.exit(EXIT.failed);
  });
}

/** Formats an unexpected error for a person: a stack only with LIGAND_STACK, and never a secret of this environment. */
export function formatUncaught(error: unknown, env: NodeJS.ProcessEnv = process.env): string {
  const stack = env.LIGAND_STACK && error instanceof Error ? `\n${error.stack}` : "";
  return manyLines(withoutSecrets(formatUnexpected(error) + stack, env));
}

/** Resolves when everything printed to stdout is written. A failed write shows only then. */
export function flushStdout(): Promise<void> {
  return new Promise((resolve) => process.stdout.write("", () => resolve()));
}
