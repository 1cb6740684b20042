import { applyD1Migrations, reset, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import fc from "fast-check";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Env } from "../../edge/env.ts";
import { EventLog } from "../../edge/events/event-log-object.ts";
import { PresenceLog } from "../../edge/inference/records/presence-log.ts";
import { DueTimes } from "../../edge/limits/due-times.ts";
import { EventOutbox } from "../../edge/record/event-outbox.ts";
import { eventBody } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { invite, ScriptedAgent } from "./support.ts";

/** Which presence events the event log gets, wherever the lane dies between its own commit and the log's answer. */

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await reset();
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);
const log = () => env.EVENT_LOG.getByName("pool");
const lane = (name: string) => env.LANE.getByName(name);

/** The events of this worker, oldest first. */
async function loggedTypes(workerId: string): Promise<string[]> {
  const { events } = await log().read("all", 0, 500);
  return events
    .map(({ event }) => eventBody.parse(JSON.parse(atob(event.event_bytes))))
    .filter(({ payload }) => payload.worker === workerId)
    .map(({ type }) => type);
}

type Death = "before the log has it" | "before it is known that the log has it" | null;

/** The presence log of a lane that dies at this point of its next publication. */
function presence({ storage }: DurableObjectState, death: Death): { log: PresenceLog; done: () => Promise<unknown> } {
  const waits: Promise<unknown>[] = [];
  const ctx = { storage, waitUntil: (each: Promise<unknown>) => void waits.push(each) };
  const append = async (drafts: never) => {
    if (death === "before the log has it") return new Promise(() => {});
    const appended = await log().append(drafts);
    return death === null ? appended : new Promise(() => {});
  };
  const made = { ...env, EVENT_LOG: { getByName: () => ({ append }) } };
  const due = new DueTimes(storage, {});
  const presenceLog = new PresenceLog(ctx as unknown as DurableObjectState, made as unknown as Env, due);
  // A log that died never answers. The other branch waits for a log that did not.
  const done = () =>
    Promise.race([
      Promise.all(waits),
      log()
        .flushRecords()
        .then(() => log().heads()),
    ]);
  return { log: presenceLog, done };
}

const serving = (workerId: string) =>
  ({ workerId, connection: "c", models: [{ name: "m" }] }) as unknown as Parameters<PresenceLog["connected"]>[0];

it("the log has each connection and disconnection once and in order, wherever the lane dies", async () => {
  const death = fc.constantFrom<Death>("before the log has it", "before it is known that the log has it", null);
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(death, { minLength: 1, maxLength: 8 }), async (deaths) => {
      const workerId = String(run++).padStart(64, "0");
      const wanted: string[] = [];
      await runInDurableObject(lane(workerId), async (_, state) => {
        let isConnected = false;
        for (const each of deaths) {
          pass(LIMITS.presenceMs);
          const { log: presenceLog, done } = presence(state, each);
          isConnected = !isConnected;
          if (isConnected) presenceLog.connected(serving(workerId));
          presenceLog.publish(Date.now());
          wanted.push(isConnected ? "worker_joined" : "worker_left");
          expect(await state.storage.getAlarm()).toBeLessThanOrEqual(Date.now() + LIMITS.outboxRetryMinMs);
          await done();
        }
        const { log: last, done } = presence(state, null);
        // The status has not changed since the last event.
        if (isConnected) last.connected(serving(workerId));
        last.publish(Date.now());
        await vi.waitFor(() => expect(last.dueAtMs(Date.now())).toBeNull(), { timeout: 60_000 });
        await done();
      });
      expect(await loggedTypes(workerId)).toEqual(wanted);
    }),
    { numRuns: 15 },
  );
});

it("the lane's alarm publishes events that the log did not take", async () => {
  const main = lane("main");
  const pending = () =>
    runInDurableObject(main, (_, { storage }) => new EventOutbox(storage, env, "presence_untold").pending());
  const broken = vi.spyOn(EventLog.prototype, "append").mockRejectedValue(new Error("away"));
  await ScriptedAgent.serving((await invite()).token, { model: "m" });
  await vi.waitFor(() => expect(broken).toHaveBeenCalled(), { timeout: 60_000 });
  expect(await pending()).toBe(1);
  broken.mockRestore();
  expect(await runDurableObjectAlarm(main)).toBe(true);
  await vi.waitFor(async () => expect(await pending()).toBe(0), { timeout: 60_000 });
  expect((await log().read("peers", 0, 10)).events).toHaveLength(1);
});
