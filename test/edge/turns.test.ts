import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Turns } from "../../edge/federation/sync/turns.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function work(turns: Turns, name: string, order: string[]) {
  const end = Promise.withResolvers<string>();
  const done = turns.take(() => {
    order.push(name);
    return end.promise;
  });
  return { done, end: () => end.resolve(name) };
}

describe("turns", () => {
  it("come one at a time, in order, and callers beyond the queue limit are refused", async () => {
    const [turns, order] = [new Turns(), [] as string[]];
    const all = Array.from({ length: LIMITS.peerTurnsWaiting + 3 }, (_, i) => work(turns, `${i}`, order));
    const names = all.slice(0, LIMITS.peerTurnsWaiting + 1).map((_, i) => `${i}`);
    expect(await Promise.all(all.slice(names.length).map(({ done }) => done))).toEqual([null, null]);
    for (const [i, each] of all.slice(0, names.length).entries()) {
      await vi.waitFor(() => expect(order).toEqual(names.slice(0, i + 1)));
      each.end();
      expect(await each.done).toBe(`${i}`);
    }
    expect(order).toEqual(names);
  });

  it("are released by work that fails", async () => {
    const turns = new Turns();
    await expect(turns.take(() => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
    expect(await turns.take(async () => "next")).toBe("next");
  });

  it("have the requested pause between them, which does not delay results", async () => {
    const [turns, order] = [new Turns(), [] as string[]];
    expect(
      await turns.take(
        async () => "first",
        () => 10,
      ),
    ).toBe("first");
    const second = work(turns, "second", order);
    await vi.advanceTimersByTimeAsync(9);
    expect(order).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(order).toEqual(["second"]);
    second.end();
    await second.done;
  });

  it("are waited for up to the time limit", async () => {
    const [turns, order] = [new Turns(), [] as string[]];
    const first = work(turns, "first", order);
    const second = work(turns, "second", order);
    await vi.advanceTimersByTimeAsync(LIMITS.peerTurnWaitMs);
    expect(await second.done).toBeNull();
    first.end();
    expect(await first.done).toBe("first");
    expect(await turns.take(async () => "third"), "no turn is kept for a caller that gave up").toBe("third");
  });

  it("end at the time limit when the work hangs", async () => {
    const [turns, order] = [new Turns(), [] as string[]];
    work(turns, "hangs", order);
    await vi.advanceTimersByTimeAsync(LIMITS.peerTurnMs);
    expect(await turns.take(async () => "next")).toBe("next");
  });
});
