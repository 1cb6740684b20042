import { createInterface } from "node:readline/promises";
import { type Command, flag } from "../../worker-agent/cli/shared/command.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

export const newLog: Command = {
  summary: "After the state was put back from a copy of its folder: go on under a new log, and be granted anew.",
  usage: "[--clock-anew] [--yes] [--json]",
  help: [
    "--clock-anew  the log's clock, which a wrong clock had put into the future, goes back to the machine's; peers are",
    "              told only what comes from now on",
    "--yes         do not ask",
    ...COMMON_HELP,
    "",
    "A pool that goes back and says something else than it said before proves to its peers that it tells two stories,",
    "and they stop following it. Under a new name its log is another one. What peers grant this pool counts as they say",
    "it again. Only for a copy of files: pool import does this by itself. docs/upgrading.md says when to run it.",
  ],
  options: { ...COMMON_OPTIONS, "clock-anew": { type: "boolean" }, yes: { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const client = admin(values);
    if (!flag(values, "yes")) await confirmed((await client.pool()).atom_id);
    const done = await client.newLog(flag(values, "clock-anew"));
    return print(
      values,
      done,
      `The log goes on as ${done.log_id}, and no more as ${done.before}. Peers that follow it read it from its beginning, ` +
        `and send what they grant again; see: ${hints.ligand("peers list")}`,
    );
  },
};

async function confirmed(atomId: string): Promise<void> {
  if (!process.stdin.isTTY) throw new UsageError("Nobody can be asked here whether this is meant. Say --yes.");
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const said = await terminal.question(
      `Every peer of pool ${atomId.slice(0, 16)} will read its log from the beginning. Go on? [y/N] `,
    );
    if (!/^y(es)?$/i.test(said.trim())) throw new OperatorError("Nothing was changed.");
  } finally {
    terminal.close();
  }
}
