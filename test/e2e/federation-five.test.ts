import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { WorkerSocket } from "../../scripts/fuzz/worker-socket.ts";
import { adminClient } from "../../scripts/runtime/admin-client.ts";
import { type RunningPool, startPool, WORKERD_RECORD } from "../../scripts/runtime/pool-runtime.ts";
import { parseRecord } from "../../scripts/runtime/workerd-record.ts";
import { signal } from "../../worker-agent/state/processes.ts";
import { bodyOf, bond, expectOnce, expectSound, idsOf, logOf, openFederation, SAID } from "./federation-support.ts";
import { type Pool, ScriptedPeer } from "./scripted-peer.ts";
import { temporaryFolder, waitFor } from "./support.ts";

/**
 * Five pools, each in a workerd of its own, on a day on which everything goes wrong: processes stand still, are killed,
 * are switched off, trust each other less and more again, while workers join and a sixth, scripted pool tells one or
 * another of public events. Afterwards all of them have everything, once. The same rules over thousands of seeds, without
 * processes: `npm run simulate`.
 */

const POOLS = 5;
const STEPS = 30;
const CONVERGED_MS = 45_000;

interface Five extends Pool {
  name: string;
  running: RunningPool;
  stateDir: string;
  /** What keeps it from answering now. */
  state: "up" | "still" | "off";
}

const folders = Array.from({ length: POOLS }, () => temporaryFolder());
const pools: Five[] = [];
let source: ScriptedPeer;

async function serve(stateDir: string, port = 0): Promise<Pick<Five, "running" | "url" | "admin" | "credentials">> {
  const running = await startPool({ stateDir, port, log: () => {} });
  const { url, secrets } = running;
  const admin = adminClient(url, secrets.admin_token);
  const { atom_id } = await admin.pool();
  return { running, url, admin, credentials: { atom_id, admin_token: secrets.admin_token } };
}

beforeAll(async () => {
  source = await ScriptedPeer.start();
  for (const stateDir of folders) {
    pools.push({ ...(await serve(stateDir)), name: `pool ${pools.length}`, stateDir, state: "up" });
  }
  await openFederation(...pools);
  for (const [i, a] of pools.entries()) await Promise.all(pools.slice(i + 1).map((b) => bond(a, b)));
  await Promise.all(pools.map((pool) => source.befriend(pool, 2)));
});

afterAll(async () => {
  for (const pool of pools) signal(runtimeOf(pool), "SIGCONT");
  await Promise.all(pools.map(({ running }) => running.stop()));
});

function runtimeOf({ stateDir }: Five): number {
  const record = parseRecord(readFileSync(join(stateDir, WORKERD_RECORD), "utf8"));
  if (record === undefined) throw new Error("workerd is not on record");
  return record.pid;
}

const step = fc.record({
  what: fc.constantFrom(
    ...(["push", "push", "push", "push", "join", "join", "trust", "trust", "trust"] as const),
    ...(["stand still", "stand still", "go on", "go on", "kill", "kill", "restart", "off", "on"] as const),
  ),
  at: fc.nat(POOLS - 1),
  other: fc.nat(POOLS - 1),
  level: fc.constantFrom(0, 1, 2, 3),
});
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** Content ids of public events that some pool said yes to. */
const accepted: string[] = [];

async function take({ what, at, other, level }: Step): Promise<void> {
  const [pool, peer] = [pools[at], pools[other]];
  if (pool === undefined || peer === undefined) return;
  if (what === "go on") return goOn(pool);
  if (pool.state === "still") return;
  switch (what) {
    case "push": {
      if (pool.state === "off") return;
      const events = await source.sign([SAID, SAID, SAID]);
      const answer = await source.push(pool, events).catch(() => null);
      if (answer !== null) accepted.push(...events.map(({ content_id }) => content_id));
      return;
    }
    case "join": {
      // It leaves at once; that it came is in the log.
      const { token } = await pool.admin.invite({});
      const options = { url: pool.url, token, signer: await signerFrom(generateSecretKey()), timeoutMs: 10_000 };
      const worker = await WorkerSocket.serving(options, [{ name: "m", slots: 1, kinds: ["chat"] }]);
      return worker.vanish();
    }
    case "stand still":
      signal(runtimeOf(pool), "SIGSTOP");
      pool.state = "still";
      return;
    case "kill":
      signal(runtimeOf(pool), "SIGKILL");
      await waitFor(() => pool.admin.pool(), 20_000, `${pool.name} to be up`);
      return;
    case "restart":
      await pool.running.stop();
      Object.assign(pool, await serve(pool.stateDir, Number(new URL(pool.url).port)));
      return;
    case "off":
    case "on":
      await pool.admin.changeFederation({ federation: what });
      pool.state = what === "on" ? "up" : "off";
      return;
    case "trust":
      if (pool !== peer) await pool.admin.trustPeer(peer.credentials.atom_id, level);
      return;
    default:
      what satisfies never;
  }
}

async function goOn(pool: Five): Promise<void> {
  if (pool.state !== "still") return;
  signal(runtimeOf(pool), "SIGCONT");
  pool.state = "up";
}

async function mendAll(): Promise<void> {
  for (const pool of pools) await goOn(pool);
  await openFederation(...pools);
  for (const pool of pools) {
    pool.state = "up";
    for (const peer of pools) if (peer !== pool) await pool.admin.trustPeer(peer.credentials.atom_id, 3);
  }
}

/** What a pool is still to hear of: public events, and what the others say to those they trust. */
async function missing(pool: Five): Promise<string[]> {
  const has = new Set(idsOf(await logOf(pool, "all")));
  const said = await Promise.all(pools.map(async (other) => idsOf(await logOf(other, "peers"))));
  return [...accepted, ...said.flat()].filter((id) => !has.has(id));
}

const SEEDS = [1, 2].map((n) => (Date.now() % 1_000_000) * 10 + n);

it.each(SEEDS)("five pools have everything, once, after the day of seed %i", async (seed) => {
  const steps = fc.sample(step, { seed, numRuns: STEPS });
  for (const each of steps) await take(each);
  await mendAll();
  const startMs = performance.now();
  for (const pool of pools) {
    await waitFor(async () => (await missing(pool)).length === 0, CONVERGED_MS, `${pool.name} to have everything`);
  }
  console.log(
    `seed ${seed}: ${accepted.length} public events, level after ${Math.round(performance.now() - startMs)} ms`,
  );
  for (const pool of pools) expectOnce(await expectSound(pool), accepted);
});

it("and nothing that was not for them", async () => {
  for (const pool of pools) {
    const others = (await logOf(pool, "all")).map(bodyOf).filter(({ origin }) => origin !== pool.credentials.atom_id);
    const isTheirs = ({ visibility, payload }: (typeof others)[number]) =>
      visibility === "public" || visibility === "peers" || payload.peer === pool.credentials.atom_id;
    expect(others.length).toBeGreaterThan(0);
    expect(others.filter((event) => !isTheirs(event))).toEqual([]);
  }
});
