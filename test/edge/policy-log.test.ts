import {
  applyD1Migrations,
  createExecutionContext,
  createScheduledController,
  evictDurableObject,
  reset,
} from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import worker from "../../edge/index.ts";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import { admin, ask } from "./support.ts";

/** What an admin changes holds at once, and is in our log for certain: now, or when the log is there again. */

beforeEach(async () => {
  await reset();
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
});
afterEach(() => vi.restoreAllMocks());

/** Payloads of what our log has heard of changes. */
async function told(): Promise<unknown[]> {
  const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
  const opened = await Promise.all(events.map(({ event }) => openEvent(event)));
  return opened.flatMap((each) => (each.ok && each.event.type === "policy_changed" ? [each.event.payload] : []));
}

/** Whatever asks for the log fails, until it is there again. */
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
  it("holds at once, and is told by the next trigger, though its object was gone meanwhile", async () => {
    const log = logAway();
    await admin("PATCH", "/federation", { federation: "on", max_peers: 7 }, 200);
    expect(await isOpen()).toBe(true);
    await admin("PATCH", "/federation", { federation: "off" }, 200);
    expect(await isOpen()).toBe(false);
    await admin("PATCH", "/pool", { name: "Renamed" }, 200);
    await trigger();
    log.back();
    expect(await told()).toEqual([]);
    expect(await admin("GET", "/doctor")).toMatchObject({
      untold: [
        { of: "settings", waiting: 3 },
        { of: "admin tokens", waiting: 0 },
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
    expect(await told()).toEqual(changes);
    await trigger();
    expect(await told()).toEqual(changes);
    expect(await admin("GET", "/pool")).toMatchObject({ name: "Renamed" });
  });

  it("is told by the next change, in order", async () => {
    const log = logAway();
    await admin("PATCH", "/federation", { max_peers: 1 }, 200);
    log.back();
    await admin("PATCH", "/federation", { max_peers: 2 }, 200);
    expect(await told()).toEqual([1, 2].map((max_peers) => ({ federation: { max_peers }, by: "admin" })));
  });
});

it("changes at the same time are told once each, before they are answered", async () => {
  const numbers = Array.from({ length: 20 }, (_, i) => i + 100);
  await Promise.all(numbers.map((max_peers) => admin("PATCH", "/federation", { max_peers }, 200)));
  const payloads = (await told()) as { federation: { max_peers: number } }[];
  expect(payloads.map(({ federation }) => federation.max_peers).sort()).toEqual(numbers);
});

it("what changes nothing is not told", async () => {
  await admin("PATCH", "/federation", { max_peers: 3, federation: "off" }, 200);
  await admin("PATCH", "/federation", { max_peers: 3 }, 200);
  await admin("PATCH", "/pool", {}, 200);
  expect(await told()).toEqual([{ federation: { max_peers: 3 }, by: "admin" }]);
});
