import { jsonLine, manyLines } from "../../terminal-text.ts";
import { type Command, EXIT, flag, type Group, parseCommand } from "./command.ts";
import { hintsOf } from "./hints.ts";
import { OperatorError } from "./operator-error.ts";
import { resolveSettingsHere } from "./resolve-settings.ts";
import { flushStdout, formatUncaught, handleUncaughtErrors } from "./uncaught-errors.ts";
import { FlagError, UsageError } from "./usage-error.ts";

/** Runs a command and resolves to its exit code when all of its output is written. */
export async function runCommand(root: Command | Group, name: string, args: readonly string[]): Promise<number> {
  handleUncaughtErrors();
  const code = await commandCode(root, name, args);
  await flushStdout();
  return code;
}

/**
 * Runs the command that these arguments name. Errors go to stderr as text; with `--json` they go to stdout as
 * `{"error":{"code","message"}}`, in place of the answer.
 */
async function commandCode(root: Command | Group, name: string, args: readonly string[]): Promise<number> {
  const parsed = parseCommand(root, name, args);
  if (parsed.kind === "help") {
    console.log(parsed.text);
    return EXIT.ok;
  }
  if (parsed.kind === "usage") {
    // The first paragraph is the error, the rest is the command's help.
    const [message = ""] = parsed.text.split("\n\n");
    if (args.includes("--json")) printJsonError(new UsageError(message));
    else console.error(parsed.text);
    return EXIT.usage;
  }
  const { command, group } = parsed;
  let sources: ReadonlyMap<string, string> = new Map();
  try {
    const resolved = resolveSettingsHere(command.options, parsed.values);
    sources = resolved.sources;
    return await command.run(resolved.values, parsed.positionals, hintsOf(command.options, parsed.values, group));
  } catch (thrown) {
    const source = thrown instanceof FlagError ? sources.get(thrown.flag) : undefined;
    const located = thrown instanceof FlagError && source ? new UsageError(`${source} ${thrown.problem}`) : thrown;
    const isExpected = located instanceof UsageError || located instanceof OperatorError;
    const error = isExpected ? located : new OperatorError(formatUncaught(located), "cli/unexpected");
    if (flag(parsed.values, "json")) printJsonError(error);
    else console.error(manyLines(error.message));
    return error instanceof UsageError ? EXIT.usage : EXIT.failed;
  }
}

function printJsonError({ code, message }: UsageError | OperatorError): void {
  console.log(jsonLine({ error: { code, message } }));
}
