import { once } from "node:events";
import { ATTACKS, type AttackName, type KnownAttack } from "./attacks/all.ts";
import { Connections, percentile, type Target } from "./load.ts";
import { end, type Rig, startChild, startRig } from "./rig.ts";
import { type Bench, type Row, round } from "./row.ts";

const QUIET_MS = 6_000;
const ATTACKED_MS = 10_000;
const CONNECTIONS = 2;
/** During an attack the p99 may grow by this much or by this factor, whichever gives the larger bound. */
const ADDED_MS = 50;
const TIMES = 2;

/** How long other clients wait during an attack: small chat requests with another key, on an instant worker. */
export const ATTACK_BENCH: Bench = {
  name: "attacks",
  async run(progress) {
    const rows: Row[] = [];
    for (const [name, known] of Object.entries(ATTACKS)) {
      const rig = await startRig();
      try {
        rows.push(await measured(rig, name as AttackName, known, progress));
      } finally {
        await rig.stop();
      }
    }
    return rows;
  },
};

async function measured(
  rig: Rig,
  name: AttackName,
  { what, onRealWorker }: KnownAttack,
  progress: (line: string) => void,
): Promise<Row> {
  if (onRealWorker) await rig.addEmbeddedWorker(4);
  await rig.addInstantWorkers(1, 8);
  // The first requests warm up the pool, the worker and this process.
  await latenciesMs(rig, QUIET_MS / 3);
  const quiet = await latenciesMs(rig, QUIET_MS);
  const attacker = await startChild("attacker.ts", {
    LIGAND_POOL: rig.url,
    BENCH_ADMIN_TOKEN: rig.adminToken,
    BENCH_ATTACK: name,
  });
  try {
    const attacked = await latenciesMs(rig, ATTACKED_MS);
    const reported = once(attacker, "message");
    attacker.send("stop");
    const [report] = await reported;
    const [quietMs, attackedMs] = [percentile(quiet, 99), percentile(attacked, 99)];
    const targetMs = Math.max(TIMES * quietMs, quietMs + ADDED_MS);
    progress(`${name}: p99 ${quietMs.toFixed(1)} ms quiet, ${attackedMs.toFixed(1)} ms during the attack`);
    return {
      what: `others' p99 beside ${what}`,
      value: round(attackedMs),
      unit: "ms",
      target: `≤ ${round(targetMs)}`,
      met: attackedMs <= targetMs,
      detail: `quiet ${round(quietMs)} ms, n = ${quiet.length} and ${attacked.length}; answered ${JSON.stringify(report)}`,
    };
  } finally {
    await end(attacker);
  }
}

/** The latency of each request, for requests that are sent during `ms`. */
async function latenciesMs(rig: Rig, ms: number): Promise<number[]> {
  const connections = new Connections(CONNECTIONS);
  const target: Target = {
    url: `${rig.url}/v1/chat/completions`,
    headers: { authorization: `Bearer ${rig.key}` },
    body: JSON.stringify({ model: "instant", messages: [{ role: "user", content: "hi" }], max_tokens: 1 }),
  };
  const endMs = performance.now() + ms;
  const times: number[] = [];
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      while (performance.now() < endMs) {
        const startedMs = performance.now();
        await connections.post(target);
        times.push(performance.now() - startedMs);
      }
    }),
  );
  connections.close();
  return times;
}
