import { poolName, UNNAMED_POOL } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Command } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { UsageError } from "../../worker-agent/cli/shared/usage-error.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";

const NAME_RULE = `It has 1 to ${LIMITS.peerNameChars} characters, none that steer a terminal, and no blank before or after.`;

export const nameCommand: Command = {
  summary: "Say what this pool is called, or call it otherwise. Other pools' operators see the name, beside its id.",
  usage: "[NAME] [--json]",
  help: ["NAME          what it is called from now on; without it, what it is called is said", ...COMMON_HELP],
  options: COMMON_OPTIONS,
  positionals: { min: 0, max: 1 },
  async run(values, [name], hints) {
    if (name !== undefined && !poolName.safeParse(name).success) {
      throw new UsageError(`"${printable(name)}" is no name for a pool. ${NAME_RULE}`);
    }
    const client = admin(values);
    const called = name === undefined ? await client.pool() : await client.changePool({ name });
    return print(values, { atom_id: called.atom_id, name: called.name }, nameWords(called, name !== undefined, hints));
  },
};

/** Pure. */
export function nameWords(pool: { atom_id: string; name: string }, isNew: boolean, hints: Hints): string {
  const called = `${printable(pool.name)}, ${pool.atom_id}`;
  if (isNew)
    return `${called}\nA pool that knows this one learns it when either says: ${hints.ligand("peers add URL")}`;
  if (pool.name !== UNNAMED_POOL) return called;
  return `${called}\nSo is every pool that nobody has named. Name it with: ${hints.ligand("pool name NAME")}`;
}
