import { createInterface } from "node:readline/promises";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";

/** Asks in the terminal. Resolves on yes. @param refused the message after any other answer */
export async function confirm(question: string, refused: string): Promise<void> {
  if (!process.stdin.isTTY)
    throw new UsageError("This needs confirmation, and standard input is not a terminal. Add --yes.");
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new OperatorError(refused);
  } finally {
    terminal.close();
  }
}
