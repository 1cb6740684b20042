import {
  applyD1Migrations,
  createExecutionContext,
  createScheduledController,
  evictDurableObject,
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import worker from "../../edge/index.ts";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import { admin, ask } from "./support.ts";

/** A change of settings or switches takes effect immediately. The log gets its event then, or once it is available again. */

beforeEach(async () => {
  await reset();
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
});
afterEach(() => vi.restoreAllMocks());

/** The payloads of all `policy_changed` events in the log. */
async function logged(): Promise<unknown[]> {
  const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
  const opened = await Promise.all(events.map(({ event }) => openEvent(event)));
  return opened.flatMap((each) => (each.ok && each.event.type === "policy_changed" ? [each.event.payload] : []));
}

/** Every call to the log fails until `back`. */
function logAway(): { back(): void } {
  const spy = vi.spyOn(env.EVENT_LOG, "getByName").mockImplementation(() => {
    throw new Error("the log is away");
  });
  return { back: () => spy.mockRestore() };
}

const trigger = () => {
  const controller = createScheduledController({ cron: "*/5 * * * *", scheduledTime: Date.now() });
  return worker.scheduled(controller, env, createExecutionContext());
};
const isOpen = async () => (await ask("/v1/federation/info")).status === 200;

describe("a change while the log is away", () => {
  it("takes effect immediately, and the next cron trigger publishes it, also after an eviction of its object", async () => {
    const log = logAway();
    await admin("PATCH", "/federation", { federation: "on", max_peers: 7 }, 200);
    expect(await isOpen()).toBe(true);
    await admin("PATCH", "/federation", { federation: "off" }, 200);
    expect(await isOpen()).toBe(false);
    await admin("PATCH", "/pool", { name: "Renamed" }, 200);
    await trigger();
    log.back();
    expect(await logged()).toEqual([]);
    expect(await admin("GET", "/doctor")).toMatchObject({
      untold: [
        { of: "settings", waiting: 3 },
        { of: "admin tokens", waiting: 0 },
        { of: "webhook", waiting: 0 },
        { of: "peers", waiting: 0 },
      ],
    });
    await evictDurableObject(env.POOL_POLICY.getByName("pool") as unknown as DurableObjectStub);
    await trigger();
    const changes = [
      { federation: { federation: "on", max_peers: 7 }, by: "admin" },
      { federation: { federation: "off" }, by: "admin" },
      { settings: ["name"], by: "admin" },
    ];
    expect(await logged()).toEqual(changes);
    await trigger();
    expect(await logged()).toEqual(changes);
    expect(await admin("GET", "/pool")).toMatchObject({ name: "Renamed" });
  });

  it("is published by the next change, in order", async () => {
    const log = logAway();
    await admin("PATCH", "/federation", { max_peers: 1 }, 200);
    log.back();
    await admin("PATCH", "/federation", { max_peers: 2 }, 200);
    expect(await logged()).toEqual([1, 2].map((max_peers) => ({ federation: { max_peers }, by: "admin" })));
  });
});

it("concurrent changes are published once each, before their answers", async () => {
  const numbers = Array.from({ length: 20 }, (_, i) => i + 100);
  await Promise.all(numbers.map((max_peers) => admin("PATCH", "/federation", { max_peers }, 200)));
  const payloads = (await logged()) as { federation: { max_peers: number } }[];
  expect(payloads.map(({ federation }) => federation.max_peers).sort()).toEqual(numbers);
});

it("a patch that changes nothing is not published", async () => {
  await admin("PATCH", "/federation", { max_peers: 3, federation: "off" }, 200);
  await admin("PATCH", "/federation", { max_peers: 3 }, 200);
  await admin("PATCH", "/pool", {}, 200);
  expect(await logged()).toEqual([{ federation: { max_peers: 3 }, by: "admin" }]);
});

it("an alarm publishes the event of an admin's change that the log missed, also after an eviction", async () => {
  const admins = env.ADMIN_TOKENS.getByName("pool");
  const log = logAway();
  await admin("POST", "/admins", { name: "alice" });
  log.back();
  await evictDurableObject(admins);
  expect(await runDurableObjectAlarm(admins)).toBe(true);
  const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
  const opened = await Promise.all(events.map(({ event }) => openEvent(event)));
  expect(opened.map((each) => each.ok && each.event.type)).toContain("admin_created");
});

it("changes that an earlier release kept under `untold` are published once, under the keys that they had", async () => {
  const policy = env.POOL_POLICY.getByName("pool") as unknown as DurableObjectStub<Rpc.DurableObjectBranded>;
  const payloads = [
    { federation: { max_peers: 4 }, by: "admin" },
    { settings: ["name"], by: "admin" },
  ];
  // The first one is in the log already: that release died before it noted the answer.
  const [first, second] = payloads.map((payload, i) => ({ key: `of an earlier release ${i}`, payload }));
  const event = { type: "policy_changed", visibility: "private" } as const;
  await env.EVENT_LOG.getByName("pool").append([{ ...event, key: String(first?.key), payload: { ...first?.payload } }]);
  await runInDurableObject(policy, (_, { storage }) => storage.put("data", { untold: [first, second] }));
  await evictDurableObject(policy);
  expect(await admin("GET", "/doctor")).toMatchObject({
    untold: expect.arrayContaining([{ of: "settings", waiting: 2 }]),
  });
  await trigger();
  expect(await logged()).toEqual(payloads);
  await evictDurableObject(policy);
  await trigger();
  expect(await logged()).toEqual(payloads);
});
