import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { adminClient } from "../../scripts/runtime/admin-client.ts";
import { type RunningPool, startPool } from "../../scripts/runtime/pool-runtime.ts";
import { parseRecord, WORKERD_RECORD } from "../../scripts/runtime/workerd-record.ts";
import { signal } from "../../worker-agent/state/processes.ts";
import { WorkerSocket } from "../fuzz/worker-socket.ts";
import { bodyOf, bond, expectOnce, expectSound, idsOf, logOf, openFederation, SAID } from "./federation-support.ts";
import { type Cut, PartitionProxy } from "./partition-proxy.ts";
import { type Pool, ScriptedPeer } from "./scripted-peer.ts";
import { temporaryFolder, waitFor } from "./support.ts";

/**
 * Five pools, each in its own workerd, over one simulated day of faults: processes freeze, are killed, are switched
 * off, cannot reach one another in one direction or both, and trust each other less and then more again. Meanwhile
 * workers join, and a sixth, scripted pool sends public events to one pool or another. Afterwards every pool has every
 * event once. `npm run simulate` checks the same rules over thousands of seeds, without processes. No clock jumps here,
 * because every process has the machine's clock. Clocks jump in the simulation, and inside workerd in `test/edge/event-
 * log.test.ts` and `time.test.ts`.
 */

const POOLS = 5;
const STEPS = 36;
const STEP_MS = 30_000;
const CONVERGED_MS = 45_000;

interface Five extends Pool {
  name: string;
  running: RunningPool;
  stateDir: string;
  /** The address at which the other pools reach it. */
  front: PartitionProxy;
  /** The fault that keeps it from answering now. */
  state: "up" | "still" | "off";
}

const folders = Array.from({ length: POOLS }, () => temporaryFolder());
const pools: Five[] = [];
let source: ScriptedPeer;

type Served = Pick<Five, "running" | "url" | "admin" | "credentials">;

async function serve({ stateDir, front }: Pick<Five, "stateDir" | "front">, port = 0): Promise<Served> {
  const running = await startPool({ stateDir, port, publicUrl: front.url, log: () => {} });
  const { url, publicUrl, secrets } = running;
  front.poolUrl = url;
  const admin = adminClient(url, secrets.admin_token);
  const { atom_id } = await admin.pool();
  return { running, url, admin, credentials: { atom_id, admin_token: secrets.admin_token, public_url: publicUrl } };
}

beforeAll(async () => {
  source = await ScriptedPeer.start();
  for (const stateDir of folders) {
    const front = await PartitionProxy.start();
    pools.push({ ...(await serve({ stateDir, front })), name: `pool ${pools.length}`, stateDir, front, state: "up" });
  }
  await openFederation(...pools);
  for (const [i, a] of pools.entries()) await Promise.all(pools.slice(i + 1).map((b) => bond(a, b)));
  await Promise.all(pools.map((pool) => source.trustEachOther(pool, 2)));
});

afterAll(async () => {
  for (const { front } of pools) front.mendAll();
  for (const pool of pools) signal(runtimeOf(pool), "SIGCONT");
  await Promise.all(pools.map(({ running }) => running.stop()));
});

const idOf = ({ credentials }: Pool) => credentials.atom_id;

function runtimeOf({ stateDir }: Five): number {
  const record = parseRecord(readFileSync(join(stateDir, WORKERD_RECORD), "utf8"));
  if (record === undefined) throw new Error("workerd is not on record");
  return record.pid;
}

const step = fc.record({
  what: fc.constantFrom(
    ...(["push", "push", "push", "push", "join", "join", "trust", "trust", "trust"] as const),
    ...(["stand still", "stand still", "go on", "go on", "kill", "kill", "restart", "off", "on"] as const),
    ...(["cut", "cut", "cut", "cut", "mend"] as const),
  ),
  at: fc.nat(POOLS - 1),
  other: fc.nat(POOLS - 1),
  level: fc.constantFrom(0, 1, 2, 3),
  how: fc.constantFrom<Cut>("refused", "silent", "torn"),
  both: fc.boolean(),
});
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** Content ids of public events that some pool has accepted. */
const accepted: string[] = [];

async function take({ what, at, other, level, how, both }: Step): Promise<void> {
  const [pool, peer] = [pools[at], pools[other]];
  if (pool === undefined || peer === undefined) return;
  if (what === "go on") return restart(pool);
  if (pool.state === "still") return;
  switch (what) {
    case "push": {
      if (pool.state === "off") return;
      const events = await source.sign([SAID, SAID, SAID]);
      const answer = await source.push(pool, events).catch(() => null);
      if (answer !== null) accepted.push(...events.map(({ content_id }) => content_id));
      return;
    }
    case "join":
      return joinAndLeave(pool);
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
      Object.assign(pool, await serve(pool, Number(new URL(pool.url).port)));
      return;
    case "off":
    case "on":
      await pool.admin.changeFederation({ federation: what });
      pool.state = what === "on" ? "up" : "off";
      return;
    case "trust":
      if (pool !== peer) await pool.admin.trustPeer(peer.credentials.atom_id, level);
      return;
    case "cut":
      pool.front.cut(idOf(peer), how);
      if (both) peer.front.cut(idOf(pool), how);
      return;
    case "mend":
      pool.front.mend(idOf(peer));
      return;
    default:
      what satisfies never;
  }
}

/** Starts a worker and ends it immediately; the log records that it joined. */
async function joinAndLeave(pool: Five): Promise<void> {
  const { token } = await pool.admin.invite({});
  const options = { url: pool.url, token, signer: await signerFrom(generateSecretKey()), timeoutMs: 10_000 };
  const worker = await WorkerSocket.serving(options, [{ name: "m", slots: 1, kinds: ["chat"] }]);
  worker.vanish();
}

/** Names the step that hangs. */
async function inTime(doing: Promise<void>, what: string): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`not done after ${STEP_MS} ms: ${what}`)), STEP_MS);
  await Promise.race([doing, late]).finally(() => clearTimeout(timer));
}

async function restart(pool: Five): Promise<void> {
  if (pool.state !== "still") return;
  signal(runtimeOf(pool), "SIGCONT");
  pool.state = "up";
}

async function repairAll(): Promise<void> {
  for (const pool of pools) await restart(pool);
  for (const { front } of pools) front.mendAll();
  await openFederation(...pools);
  for (const pool of pools) {
    pool.state = "up";
    for (const peer of pools) if (peer !== pool) await pool.admin.trustPeer(peer.credentials.atom_id, 3);
  }
}

/** The events that a pool still lacks: public ones, and those that the others send to bonded peers. */
async function missing(pool: Five): Promise<string[]> {
  const has = new Set(idsOf(await logOf(pool, "all")));
  const peersLogs = await Promise.all(pools.map(async (other) => idsOf(await logOf(other, "peers"))));
  return [...accepted, ...peersLogs.flat()].filter((id) => !has.has(id));
}

it("two partitioned pools get public events by way of the others, and events for bonded peers once the partition ends", async () => {
  const [a, b, c] = pools as [Five, Five, Five];
  expect((await a.admin.peer(idOf(b))).url).toBe(b.front.url);
  expect((await b.admin.peer(idOf(a))).url).toBe(a.front.url);
  const before = idsOf(await logOf(a, "peers"));
  const forPeers = async () => idsOf(await logOf(a, "peers")).filter((id) => !before.includes(id));
  b.front.cut(idOf(a), "refused");
  a.front.cut(idOf(b), "torn");
  await joinAndLeave(a);
  await waitFor(async () => (await forPeers()).length > 0, 5_000, "the log to have the worker");
  const joined = await forPeers();
  await take({ what: "push", at: 0, other: 0, level: 0, how: "torn", both: false });
  const isHeldBack = async () => (await missing(b)).every((id) => !accepted.includes(id));
  await waitFor(isHeldBack, 10_000, "what is public to come through others");
  await waitFor(async () => (await missing(c)).length === 0, 10_000, "a third to have everything");
  expect(await missing(b)).toEqual(expect.arrayContaining(joined));
  for (const { front } of pools) front.mendAll();
  await waitFor(async () => (await missing(b)).length === 0, 20_000, "the rest to come");
  const { affected } = b.front;
  b.front.cut(idOf(a), "refused");
  await a.admin.trustPeer(idOf(b), 2);
  await waitFor(() => b.front.affected > affected, 10_000, "the grant to be refused");
  expect((await b.admin.peer(idOf(a))).received).toBe(3);
  b.front.mendAll();
  await waitFor(async () => (await b.admin.peer(idOf(a))).received === 2, 20_000, "the grant to come");
});

const cutCount = () => pools.reduce((sum, { front }) => sum + front.affected, 0);

const SEEDS = [1, 2].map((n) => (Date.now() % 1_000_000) * 10 + n);

it.each(SEEDS)("after the day of seed %i each of the five pools has every event, once", async (seed) => {
  const metBefore = cutCount();
  const steps = fc.sample(step, { seed, numRuns: STEPS });
  for (const each of steps) await inTime(take(each), JSON.stringify(each));
  await repairAll();
  const startMs = performance.now();
  for (const pool of pools) {
    await waitFor(async () => (await missing(pool)).length === 0, CONVERGED_MS, `${pool.name} to have everything`);
  }
  console.log(
    `seed ${seed}: ${accepted.length} public events, ${cutCount() - metBefore} meetings with a cut, level after ${Math.round(performance.now() - startMs)} ms`,
  );
  for (const pool of pools) expectOnce(await expectSound(pool), accepted);
});

it("no pool has an event that it must not see", async () => {
  for (const pool of pools) {
    const others = (await logOf(pool, "all")).map(bodyOf).filter(({ origin }) => origin !== pool.credentials.atom_id);
    const isTheirs = ({ visibility, payload }: (typeof others)[number]) =>
      visibility === "public" || visibility === "peers" || payload.peer === pool.credentials.atom_id;
    expect(others.length).toBeGreaterThan(0);
    expect(others.filter((event) => !isTheirs(event))).toEqual([]);
  }
});
