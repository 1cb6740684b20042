import { jsonLine, manyLines } from "../../worker-agent/terminal-text.ts";
import { OperatorError } from "../runtime/operator-error.ts";
import { type Command, EXIT, flag, type Group, parseCommand } from "./command.ts";
import { hintsOf } from "./hints.ts";
import { guardProcess, lastWords, written } from "./last-words.ts";
import { settleHere } from "./settle.ts";
import { FlagError, UsageError } from "./usage-error.ts";

/** As `commandCode`; when it resolves, what the command said is written, and whatever nobody caught was told in words. */
export async function runCommand(root: Command | Group, name: string, args: readonly string[]): Promise<number> {
  guardProcess();
  const code = await commandCode(root, name, args);
  await written();
  return code;
}

/**
 * Runs the command that these arguments name, and gives its exit code. What went wrong is said in words on stderr; with
 * `--json` it is `{"error":{"code","message"}}` on stdout, in the place of the answer.
 */
async function commandCode(root: Command | Group, name: string, args: readonly string[]): Promise<number> {
  const parsed = parseCommand(root, name, args);
  if (parsed.kind === "help") {
    console.log(parsed.text);
    return EXIT.ok;
  }
  if (parsed.kind === "usage") {
    // In words the help comes with it, in a paragraph of its own.
    const [message = ""] = parsed.text.split("\n\n");
    if (args.includes("--json")) sayJson(new UsageError(message));
    else console.error(parsed.text);
    return EXIT.usage;
  }
  let sources: ReadonlyMap<string, string> = new Map();
  try {
    const settled = settleHere(parsed.command.options, parsed.values);
    sources = settled.sources;
    return await parsed.command.run(settled.values, parsed.positionals, hintsOf(parsed.command.options, parsed.values));
  } catch (thrown) {
    const source = thrown instanceof FlagError ? sources.get(thrown.flag) : undefined;
    const told = thrown instanceof FlagError && source ? new UsageError(`${source} ${thrown.problem}`) : thrown;
    const isTold = told instanceof UsageError || told instanceof OperatorError;
    const error = isTold ? told : new OperatorError(lastWords(told), "cli/unexpected");
    if (flag(parsed.values, "json")) sayJson(error);
    else console.error(manyLines(error.message));
    return error instanceof UsageError ? EXIT.usage : EXIT.failed;
  }
}

function sayJson({ code, message }: UsageError | OperatorError): void {
  console.log(jsonLine({ error: { code, message } }));
}
