import { poolName, UNNAMED_POOL } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Command } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

const NAME_RULE = `A name has 1 to ${LIMITS.peerNameChars} characters, no control characters, and no spaces at its ends.`;

export const nameCommand: Command = {
  summary: "Show or change the name of this pool. Operators of other pools see it beside the pool's id.",
  usage: "[NAME] [--json]",
  help: ["NAME          the new name; without it, the current name is shown", ...COMMON_HELP],
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 1 },
  async run(values, [name], hints) {
    if (name !== undefined && !poolName.safeParse(name).success) {
      throw new UsageError(`"${printable(name)}" is not a valid name. ${NAME_RULE}`);
    }
    const client = admin(values);
    const called = name === undefined ? await client.pool() : await client.changePool({ name });
    return print(values, { atom_id: called.atom_id, name: called.name }, formatName(called, name !== undefined, hints));
  },
};

export function formatName(pool: { atom_id: string; name: string }, isNew: boolean, hints: Hints): string {
  const called = `${printable(pool.name)}, ${pool.atom_id}`;
  if (isNew) return `${called}\nA peer sees the new name after either of you runs: ${hints.ligand("peers add URL")}`;
  if (pool.name !== UNNAMED_POOL) return called;
  return `${called}\nThis is the default name. To choose your own: ${hints.ligand("pool name NAME")}`;
}
