import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DueTimes } from "../../../edge/limits/due-times.ts";

/** An object's alarm. A turn that crashes before its commit is not modelled: `armedMs` is what a commit would store. */
class Alarm {
  armedMs: number | null = null;
  writes = 0;

  async getAlarm(): Promise<number | null> {
    return this.armedMs;
  }

  async setAlarm(atMs: number | Date): Promise<void> {
    this.armedMs = Number(atMs);
    this.writes += 1;
  }

  async deleteAlarm(): Promise<void> {
    this.armedMs = null;
  }
}

type Due = { flush: number | null; purge: number | null };
const timesOf = (due: Due) => ({ flush: () => due.flush, purge: () => due.purge });

describe("due times", () => {
  it("arm the alarm at the earliest time, in the turn of the call", async () => {
    const alarm = new Alarm();
    const due = new DueTimes(alarm, timesOf({ flush: 300, purge: 200 }));
    const armed = due.arm(0);
    expect(alarm.armedMs, "before the first await").toBe(200);
    await armed;
    expect(alarm.armedMs).toBe(200);
  });

  it("arm nothing if nothing is due, and write nothing if the alarm is early enough", async () => {
    const alarm = new Alarm();
    const times: Due = { flush: null, purge: null };
    const due = new DueTimes(alarm, timesOf(times));
    await due.arm(0);
    expect(alarm.writes).toBe(0);
    times.flush = 100;
    for (let i = 0; i < 3; i++) await due.arm(0);
    await due.by(150);
    expect(alarm.writes).toBe(1);
  });

  it("keep an earlier alarm that was armed before the object woke", async () => {
    const alarm = new Alarm();
    alarm.armedMs = 50;
    await new DueTimes(alarm, timesOf({ flush: 300, purge: null })).arm(0);
    expect(alarm.armedMs).toBe(50);
  });

  it("of a new object include the stored work of the old one, after a crash before that work", async () => {
    const alarm = new Alarm();
    const stored: Due = { flush: 300, purge: null };
    void new DueTimes(alarm, timesOf(stored)).arm(0);
    alarm.armedMs = null;
    await new DueTimes(alarm, timesOf(stored)).arm(0);
    expect(alarm.armedMs).toBe(300);
  });

  it("are armed again after the alarm fired, and after the runtime gave it up", async () => {
    const alarm = new Alarm();
    const due = new DueTimes(alarm, timesOf({ flush: 300, purge: null }));
    await due.arm(0);
    alarm.armedMs = null;
    due.fired();
    await due.arm(0);
    expect(alarm.armedMs).toBe(300);
    alarm.armedMs = null;
    due.reread();
    await due.arm(0);
    expect(alarm.armedMs).toBe(300);
    await due.clear();
    expect(alarm.armedMs).toBeNull();
  });

  it("are never missed, for any due times and any evictions", async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("due" as const), name: fc.constantFrom("flush", "purge"), inMs: fc.nat(100) }),
      fc.record({ kind: fc.constant("by" as const), inMs: fc.nat(100) }),
      fc.record({ kind: fc.constantFrom("evict" as const, "arm" as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 50 }), async (steps) => {
        const alarm = new Alarm();
        const stored: Due = { flush: null, purge: null };
        let due = new DueTimes(alarm, timesOf(stored));
        let earliest = Number.POSITIVE_INFINITY;
        for (const step of steps) {
          if (step.kind === "due") {
            stored[step.name as keyof Due] = step.inMs;
            await due.arm(0);
            earliest = Math.min(earliest, step.inMs);
          } else if (step.kind === "by") {
            await due.by(step.inMs);
            earliest = Math.min(earliest, step.inMs);
          } else if (step.kind === "evict") due = new DueTimes(alarm, timesOf(stored));
          else await due.arm(0);
          expect(alarm.armedMs ?? Number.POSITIVE_INFINITY).toBe(earliest);
        }
      }),
    );
  });
});
