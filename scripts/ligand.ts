import { manyLines } from "../worker-agent/terminal-text.ts";
import { chat } from "./cli/chat.ts";
import { EXIT, type Group, parseCommand } from "./cli/command.ts";
import { pool } from "./cli/pool.ts";
import { UsageError } from "./cli/usage-error.ts";
import { worker } from "./cli/worker.ts";
import { OperatorError } from "./runtime/operator-error.ts";

/** The command line: a noun, then a verb (SPEC 12). */
const ligand: Group = {
  summary: "Ligand, a federated AI inference network.",
  commands: { pool, worker, chat },
};

const parsed = parseCommand(ligand, "ligand", process.argv.slice(2));
process.exitCode = await run();

async function run(): Promise<number> {
  if (parsed.kind === "help") {
    console.log(parsed.text);
    return EXIT.ok;
  }
  if (parsed.kind === "usage") {
    console.error(parsed.text);
    return EXIT.usage;
  }
  try {
    return await parsed.command.run(parsed.values, parsed.positionals);
  } catch (error) {
    if (error instanceof UsageError || error instanceof OperatorError) {
      console.error(manyLines(error.message));
      return error instanceof UsageError ? EXIT.usage : EXIT.failed;
    }
    throw error;
  }
}
