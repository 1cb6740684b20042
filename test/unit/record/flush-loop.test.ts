import { beforeEach, describe, expect, it, vi } from "vitest";
import { FlushLoop } from "../../../edge/record/flush-loop.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

beforeEach(() => void vi.spyOn(console, "warn").mockImplementation(() => {}));

const away = async () => {
  throw new Error("away");
};

describe("a flush", () => {
  it("that starts while another runs is followed by one more run, which concurrent callers share", async () => {
    const { promise: isDone, resolve } = Promise.withResolvers<void>();
    const drain = vi.fn(() => isDone);
    const loop = new FlushLoop("test", drain);
    const first = loop.run();
    const later = [loop.run(), loop.run(), loop.run()];
    resolve();
    expect(await Promise.all([first, ...later])).toEqual([true, true, true, true]);
    expect(drain).toHaveBeenCalledTimes(2);
  });

  it("that fails backs off exponentially, and a sent batch ends the backoff", async () => {
    const nowMs = Date.now();
    vi.spyOn(Date, "now").mockReturnValue(nowMs);
    let drain: (sent: () => void) => Promise<void> = away;
    const loop = new FlushLoop("test", (sent) => drain(sent));
    const waits: number[] = [];
    for (let i = 0; i < 9; i++) {
      expect(await loop.run()).toBe(false);
      waits.push(loop.retryAtMs(nowMs) - nowMs);
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60].map((seconds) => seconds * 1_000));
    drain = async (sent) => {
      sent();
      await away();
    };
    expect(await loop.run()).toBe(false);
    expect(loop.retryAtMs(nowMs) - nowMs).toBe(LIMITS.outboxRetryMinMs);
  });

  it("is not delayed by more than one backoff when the wall clock steps back", async () => {
    const loop = new FlushLoop("test", away);
    await loop.run();
    const earlierMs = Date.now() - 365 * 24 * 3_600_000;
    expect(loop.retryAtMs(earlierMs) - earlierMs).toBe(LIMITS.outboxRetryMaxMs);
  });
});
