import type { Command, Group } from "../../worker-agent/cli/shared/command.ts";
import { formatSwitch, SWITCHES_HELP, switchesFrom, switchesTable } from "./federation-switches.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

const show: Command = {
  summary: "Show what other pools may do at this pool: the switches, with their values.",
  usage: "[--json]",
  help: COMMON_HELP,
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 0 },
  async run(values, _, hints) {
    const { policy } = await admin(values).federation();
    return print(values, { policy }, `${formatSwitch(policy, hints)}\n\n${switchesTable(policy)}`);
  },
};

/** Also `ligand federation set`. */
export const setSwitches: Command = {
  summary: "Change what other pools may do at this pool.",
  usage: "NAME=VALUE… [--json]",
  help: [...SWITCHES_HELP, "", ...COMMON_HELP],
  options: COMMON_OPTIONS,
  positionals: { min: 1, max: SWITCHES_HELP.length },
  async run(values, given, hints) {
    const change = switchesFrom(given, hints);
    const policy = await admin(values).changeFederation(change);
    return print(values, { policy }, `${formatSwitch(policy, hints)}\n\n${switchesTable(policy)}`);
  },
};

/** `ligand policy …`: the operator's switches. */
export const policy: Group = {
  summary: "The operator's switches: show, set.",
  commands: { show, set: setSwitches },
  standard: "show",
};
