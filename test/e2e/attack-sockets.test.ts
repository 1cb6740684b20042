import { afterAll, beforeAll, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { AttackReport } from "../../scripts/bench/attacks/attack.ts";
import { attack as reconnectLoop } from "../../scripts/bench/attacks/reconnect-loop.ts";
import { attack as unansweredCloses } from "../../scripts/bench/attacks/unanswered-closes.ts";
import { askChat, type HardPool, serveAtOnce, startHardPool } from "./hardening-support.ts";

/** Attacks by the holder of a worker token, on a real pool. */
let pool: HardPool;

beforeAll(async () => {
  pool = await startHardPool();
  serveAtOnce(await pool.worker("bystander", 64), "bystander", 64);
  // Warm up: the runtime reaches its usual size before memory is compared.
  for (let i = 0; i < 200; i++) await othersAreServed();
});
afterAll(() => pool.stop());

async function othersAreServed(): Promise<void> {
  expect((await askChat(pool, "bystander", "still there?")).status).toBe(200);
}

/** What was answered, and how much workerd grew while all sockets were held. */
async function holdSockets(token: "revoked" | "valid", sockets: number) {
  const end = new AbortController();
  const beforeMiB = pool.residentMiB();
  const held = Promise.withResolvers<AttackReport>();
  const attack = unansweredCloses(pool, end.signal, { token, sockets, onHeld: held.resolve });
  const report = await held.promise;
  await othersAreServed();
  const grownMiB = pool.residentMiB() - beforeMiB;
  end.abort();
  await attack;
  return { report, grownMiB };
}

it("3,000 connection attempts with a revoked token open no socket", async () => {
  const { report, grownMiB } = await holdSockets("revoked", 3_000);
  const { 401: refused = 0, 429: tooOften = 0, ...other } = report;
  expect([refused + tooOften, other]).toEqual([3_000, {}]);
  expect(refused).toBeGreaterThan(0);
  // This is the memory of 3,000 idle TCP connections, which anybody can open; their WebSockets took 280 MiB.
  expect(grownMiB).toBeLessThan(140);
});

it("3,000 attempts with a valid token, by a client that never answers a close, open only as many sockets as the token's rate allows", async () => {
  const startedMs = performance.now();
  const { report } = await holdSockets("valid", 3_000);
  const { 101: opened = 0, 429: refused = 0 } = report;
  expect(opened + refused).toBe(3_000);
  expect(opened).toBeLessThanOrEqual(mostHandshakes(startedMs));
});

it("a token that reconnects in a loop is admitted as often as its rate allows, and the list shows one worker", async () => {
  const startedMs = performance.now();
  const {
    welcome = 0,
    closed = 0,
    429: refused = 0,
    ...other
  } = await reconnectLoop(pool, AbortSignal.timeout(100_000), {
    handshakes: 500,
  });
  expect(other).toEqual({});
  expect(welcome + closed + refused).toBe(500);
  expect(welcome + closed).toBeLessThanOrEqual(mostHandshakes(startedMs));
  await othersAreServed();
});

it("none of these attacks is counted as a failure of the pool", () => {
  expect(pool.logged).toEqual([]);
});

function mostHandshakes(startedMs: number): number {
  const minutes = (performance.now() - startedMs) / 60_000;
  return LIMITS.handshakesPerMinute + Math.ceil(minutes * LIMITS.handshakesPerMinute);
}
