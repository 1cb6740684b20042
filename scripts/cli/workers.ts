import type * as z from "zod";
import type { workerCircuits } from "../../schema/wire/admin-api.ts";
import { type Command, flag, type Group, text, type Values } from "../../worker-agent/cli/shared/command.ts";
import type { Hints } from "../../worker-agent/cli/shared/hints.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { printable, table } from "../../worker-agent/cli/shared/table.ts";
import { formatDuration } from "../../worker-agent/format-duration.ts";
import type { AdminClient } from "../runtime/admin-client.ts";
import { admin, COMMON_HELP, COMMON_OPTIONS, print } from "./pool-common.ts";
import { completeId } from "./short-id.ts";

const ID_HELP = "ID              the worker's id, or its first 6 or more hex digits";
const ONE_ID = { min: 1, max: 1 } as const;
const SHORT_ID_CHARS = 16;

const ban: Command = {
  summary: "Give a worker no more jobs. It stays connected; what it runs may end.",
  usage: "ID [--note TEXT] [--json]",
  help: [ID_HELP, "--note TEXT     for this pool's admins", ...COMMON_HELP],
  options: { ...COMMON_OPTIONS, note: { type: "string" } },
  positionals: ONE_ID,
  async run(values, [given = ""], hints) {
    const client = admin(values);
    const banned = await client.banWorker(await workerIdOf(client, given), text(values, "note"));
    const pardon = hints.ligand(`workers pardon ${banned.worker_id.slice(0, SHORT_ID_CHARS)}`);
    return print(values, banned, `Worker ${banned.worker_id} is banned. To end the ban: ${pardon}`);
  },
};

const pardon: Command = {
  summary: "End the ban of a worker.",
  usage: "ID [--json]",
  help: [ID_HELP, ...COMMON_HELP],
  options: COMMON_OPTIONS,
  positionals: ONE_ID,
  async run(values, [given = ""]) {
    const client = admin(values);
    const done = await client.pardonWorker(await workerIdOf(client, given));
    const words = done.pardoned ? "gets jobs again" : "was not banned";
    return print(values, done, `Worker ${done.worker_id} ${words}.`);
  },
};

const circuits: Command = {
  summary:
    "Show workers that failed, with their circuits and qualities, and banned workers. --reset closes the circuits.",
  usage: "[ID] [--reset] [--json]",
  help: [
    "ID              only this worker",
    "--reset         close the circuits and reset the qualities, of this worker or of all. Bans stay",
    ...COMMON_HELP,
  ],
  options: { ...COMMON_OPTIONS, reset: { type: "boolean" } },
  positionals: { min: 0, max: 1 },
  async run(values, [given], hints) {
    const client = admin(values);
    const id = given === undefined ? undefined : await workerIdOf(client, given);
    if (flag(values, "reset")) {
      const reset = await client.resetCircuits(id);
      return print(values, reset, `Closed ${reset.circuits} circuits and reset ${reset.scores} qualities.`);
    }
    const all = await client.circuits();
    const isShown = ({ worker_id }: { worker_id: string }) => id === undefined || worker_id === id;
    const shown = { circuits: all.circuits.filter(isShown), bans: all.bans.filter(isShown) };
    return show(values, shown, hints);
  },
};

function show(values: Values, shown: z.infer<typeof workerCircuits>, hints: Hints): number {
  const nowMs = Date.now();
  const ago = (atMs: number | null) => (atMs === null ? "" : `${formatDuration(nowMs - atMs)} ago`);
  const failed = table(
    ["WORKER", "MODEL", "CIRCUIT", "OPENED", "FAILURES", "QUALITY"],
    shown.circuits.map((each) => [
      each.worker_id.slice(0, SHORT_ID_CHARS),
      printable(each.model),
      each.state,
      ago(each.opened_at_ms),
      String(each.failures),
      each.quality.toFixed(2),
    ]),
    "No worker has failed.",
  );
  const banned = table(
    ["BANNED WORKER", "BY", "SINCE", "NOTE"],
    shown.bans.map((each) => [
      each.worker_id.slice(0, SHORT_ID_CHARS),
      printable(each.banned_by),
      ago(each.banned_at_ms),
      printable(each.note),
    ]),
    `No worker is banned. To ban one: ${hints.ligand("workers ban ID")}`,
  );
  return print(values, shown, `${failed}\n\n${banned}`);
}

/** A worker that is connected, has failed or is banned; or a whole id. */
async function workerIdOf(client: AdminClient, given: string): Promise<string> {
  const whole = given.toLowerCase();
  if (/^[0-9a-f]{64}$/.test(whole)) return whole;
  const [{ workers, tokens }, { circuits: failed, bans }] = await Promise.all([client.workers(), client.circuits()]);
  const known = new Set([
    ...workers.map(({ worker_id }) => worker_id),
    ...tokens.flatMap(({ worker_id }) => worker_id ?? []),
    ...failed.map(({ worker_id }) => worker_id),
    ...bans.map(({ worker_id }) => worker_id),
  ]);
  const id = completeId(
    whole,
    "worker",
    [...known].map((each) => ({ id: each })),
  );
  if (known.has(id)) return id;
  throw new OperatorError(`No worker's id begins with ${printable(given)}.`, "workers/not-found");
}

/** `ligand workers …`: what the pool's operator does with workers that fail or misbehave. */
export const workers: Group = {
  summary: "Workers that fail or misbehave: circuits, ban, pardon.",
  commands: { circuits, ban, pardon },
  standard: "circuits",
};
