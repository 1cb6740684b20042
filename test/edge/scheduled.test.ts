import {
  createExecutionContext,
  createScheduledController,
  runInDurableObject,
  waitOnExecutionContext,
} from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeEach, expect, it, vi } from "vitest";
import worker from "../../edge/index.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { AT_START } from "../../schema/wire/scheduled.ts";
import { freshPool, type PeerDouble, peerAt } from "./peer-double.ts";
import { admin, eventually } from "./support.ts";

/** The work for peers at the cron trigger and at the runner's start. */

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool();
});
afterAll(() => vi.useRealTimers());

async function call(cron: string, scheduledTime: number): Promise<void> {
  const ctx = createExecutionContext();
  await worker.scheduled(createScheduledController({ cron, scheduledTime }), env, ctx);
  await waitOnExecutionContext(ctx);
}
const trigger = (at = Date.now()) => call("*/5 * * * *", at);
const pushes = (peer: PeerDouble) => peer.called("/api/federation/events").filter(({ method }) => method === "POST");

it("a start retries pending deliveries immediately; the trigger respects their backoff", async () => {
  const peer = await peerAt(1);
  peer.answer = () => Promise.reject(new TypeError("away"));
  await admin("PUT", `/peers/${peer.id}/trust`, { level: 1 }, 200);
  await eventually(async () => pushes(peer).length === 1);
  peer.answer = () => undefined;
  for (let i = 0; i < 20; i++) await trigger();
  expect((await peer.seen()).deliveries_waiting).toBe(1);
  expect(pushes(peer)).toHaveLength(1);
  await call(AT_START, Date.now());
  await eventually(async () => peer.received.length === 1);
  expect((await peer.seen()).deliveries_waiting).toBe(0);
});

it("the trigger arms the alarm of a bond that lost it", async () => {
  const peer = await peerAt(2);
  await eventually(async () => peer.received.length === 1);
  const alarm = () => runInDurableObject(peer.bond(), (_bond, { storage }) => storage.getAlarm());
  // The grant may have armed the alarm once more.
  await eventually(async () => {
    await runInDurableObject(peer.bond(), (_bond, { storage }) => storage.deleteAlarm());
    return (await alarm()) === null;
  });
  // A trigger does nothing while the kill switch is late, as on a busy machine: the next one does.
  await eventually(async () => {
    await trigger();
    return (await alarm()) !== null;
  });
});

it("a start notifies a removed peer that its grant is withdrawn", async () => {
  const peer = await peerAt(2);
  await eventually(async () => peer.received.length === 1);
  peer.answer = () => Promise.reject(new TypeError("away"));
  await admin("DELETE", `/peers/${peer.id}`, undefined, 200);
  await eventually(async () => pushes(peer).length === 2);
  await runInDurableObject(peer.bond(), (_bond, { storage }) => storage.deleteAlarm());
  peer.answer = () => undefined;
  await call(AT_START, Date.now());
  await eventually(async () => peer.received.length === 2);
});

it("a thousand peers take turns, a hundred at each trigger, and each has one turn in a round", async () => {
  const ids = Array.from({ length: 1_000 }, (_, i) => i.toString(16).padStart(64, "0"));
  const insert = env.DB.prepare(
    `INSERT INTO peers (id, public_key, name, url, capabilities, auth_tier, granted, received, effective, added_by_admin,
     signature_version, circuit, added_at_ms) VALUES (?1, ?1, '', '', '[]', 'device-bound', 2, 0, 2, 1, 2, 'closed', ?2)`,
  );
  await env.DB.batch(ids.map((id, i) => insert.bind(id, i % 7)));
  const woken: string[] = [];
  const spy = vi.spyOn(env.BOND, "getByName").mockImplementation((id) => {
    woken.push(id);
    return { wake: async () => {}, resume: async () => {} } as unknown as ReturnType<typeof env.BOND.getByName>;
  });
  const round = Array.from({ length: 10 }, (_, turn) => Date.now() + turn * LIMITS.wakeMs);
  for (const at of round) {
    const before = woken.length;
    await trigger(at);
    expect(woken.length - before).toBe(LIMITS.peersPerWake);
  }
  expect(new Set(woken)).toEqual(new Set(ids));
  woken.length = 0;
  await call(AT_START, Date.now());
  expect([...woken].sort()).toEqual(ids);
  spy.mockRestore();
});

it("a pool without peers has nothing to do", async () => {
  const spy = vi.spyOn(env.BOND, "getByName");
  await trigger();
  await call(AT_START, Date.now());
  expect(spy).not.toHaveBeenCalled();
  spy.mockRestore();
});
