import { env, runInDurableObject } from "cloudflare:test";
import { expect, it } from "vitest";
import { DueTimes } from "../../edge/limits/due-times.ts";

const bond = () => env.BOND.getByName("due times");
const HOUR_MS = 3_600_000;

it("reads the alarm that was armed before the object woke, though it sets the new one in the same turn", async () => {
  await runInDurableObject(bond(), async (_, { storage }) => {
    const nowMs = Date.now();
    await storage.setAlarm(nowMs + HOUR_MS);
    const due = new DueTimes(storage, { flush: () => nowMs + 2 * HOUR_MS });
    await due.arm(nowMs);
    expect(await storage.getAlarm()).toBe(nowMs + HOUR_MS);
    await new DueTimes(storage, { flush: () => nowMs + HOUR_MS / 2 }).arm(nowMs);
    expect(await storage.getAlarm()).toBe(nowMs + HOUR_MS / 2);
    await storage.deleteAlarm();
  });
});

it("arms the alarm in the commit of a transaction of the same turn", async () => {
  await runInDurableObject(bond(), async (_, { storage }) => {
    const nowMs = Date.now();
    const due = new DueTimes(storage, { flush: () => nowMs + HOUR_MS });
    storage.transactionSync(() => storage.kv.put("due", true));
    const armed = due.arm(nowMs);
    expect(await storage.getAlarm()).toBe(nowMs + HOUR_MS);
    await armed;
    await storage.deleteAlarm();
  });
});
