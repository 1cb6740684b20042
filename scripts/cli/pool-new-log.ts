import { type Command, flag } from "../../worker-agent/cli/shared/command.ts";
import { confirm } from "./confirm.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

export const newLog: Command = {
  summary: "Start a new log, after the state folder was restored from a copy of its files.",
  usage: "[--clock-anew] [--yes] [--json]",
  help: [
    "--clock-anew  also reset the log's clock, which a wrong machine clock had moved into the future; peers then receive",
    "              only new events",
    "--yes         do not ask for confirmation",
    ...COMMON_HELP,
    "",
    "A restored copy is older than the log that peers already have. If the pool continued that log, peers would see two",
    "versions of it and stop following it. A new log id avoids that. Peers send their trust grants again. After pool import",
    "this command is not needed. When to run it: docs/upgrading.md.",
  ],
  options: { ...COMMON_OPTIONS, "clock-anew": { type: "boolean" }, yes: { type: "boolean" } },
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const client = admin(values);
    if (!flag(values, "yes")) {
      const { atom_id } = await client.pool();
      await confirm(
        `Every peer of pool ${atom_id.slice(0, 16)} will read its log from the beginning. Continue?`,
        "Nothing was changed. To start a new log, answer y.",
      );
    }
    const done = await client.newLog(flag(values, "clock-anew"));
    return print(
      values,
      done,
      `The new log is ${done.log_id}; it replaces ${done.before}. Peers read it from the beginning and send their grants ` +
        `again. To check: ${hints.ligand("peers list")}`,
    );
  },
};
