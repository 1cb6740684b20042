import * as fc from "fast-check";
import { expect, it } from "vitest";
import { OneAlarm } from "../../../edge/limits/one-alarm.ts";

/** An object's alarm whose reads are answered when a test says so. */
class SlowAlarm {
  armedMs: number | null = null;
  readonly #reads: (() => void)[] = [];

  getAlarm(): Promise<number | null> {
    const { armedMs } = this;
    return new Promise((resolve) => this.#reads.push(() => resolve(armedMs)));
  }

  async setAlarm(atMs: number | Date): Promise<void> {
    this.armedMs = Number(atMs);
  }

  async deleteAlarm(): Promise<void> {
    this.armedMs = null;
  }

  /** Answers the pending reads with the values that they saw, the newest first. */
  answer(): void {
    for (const read of this.#reads.splice(0).reverse()) read();
  }
}

it("of two simultaneous calls the earlier time is armed, whichever read is answered first", async () => {
  for (const times of [
    [100, 50],
    [50, 100],
  ]) {
    const storage = new SlowAlarm();
    const alarm = new OneAlarm(storage);
    const armed = Promise.all(times.map((atMs) => alarm.by(atMs)));
    storage.answer();
    await armed;
    expect(storage.armedMs).toBe(50);
  }
});

it("an earlier time that is requested while the old time is read is armed", async () => {
  const storage = new SlowAlarm();
  const alarm = new OneAlarm(storage);
  const armed = alarm.by(1_000);
  await alarm.by(10);
  storage.answer();
  await armed;
  expect(storage.armedMs).toBe(10);
});

it("arms again after it fired, and after it was cleared", async () => {
  const storage = new SlowAlarm();
  const alarm = new OneAlarm(storage);
  const first = alarm.by(10);
  storage.answer();
  await first;
  alarm.fired();
  await alarm.by(1_000);
  expect(storage.armedMs).toBe(1_000);
  await alarm.clear();
  expect(storage.armedMs).toBe(null);
  await alarm.by(2_000);
  expect(storage.armedMs).toBe(2_000);
});

it("arms again what the runtime gave up, after it reads the alarm again", async () => {
  const storage = new SlowAlarm();
  const alarm = new OneAlarm(storage);
  const first = alarm.by(10);
  storage.answer();
  await first;
  storage.armedMs = null;
  alarm.reread();
  const armed = alarm.by(1_000);
  storage.answer();
  await armed;
  expect(storage.armedMs).toBe(1_000);
});

it("is never later than the earliest time that was requested since it fired", async () => {
  const times = fc.array(fc.integer({ min: 1, max: 1_000 }), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(fc.option(fc.integer({ min: 1, max: 1_000 })), times, async (before, asked) => {
      const storage = new SlowAlarm();
      storage.armedMs = before;
      const alarm = new OneAlarm(storage);
      const armed = Promise.all(asked.map((atMs) => alarm.by(atMs)));
      storage.answer();
      await armed;
      expect(storage.armedMs).toBe(Math.min(before ?? Number.POSITIVE_INFINITY, ...asked));
    }),
  );
});
