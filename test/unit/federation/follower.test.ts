import { expect, it, vi } from "vitest";
import { NOTHING_FOLLOWED, type Source } from "../../../edge/federation/sync/followed-log-rules.ts";
import { type FollowedLog, Follower } from "../../../edge/federation/sync/follower.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Who starts and stops a follower; what it does is tried in workerd (`test/edge/federation-following.test.ts`). */

/** Each question for its source, and what answers it. */
function asking() {
  const questions: ((source: Source | null) => void)[] = [];
  const log: FollowedLog = {
    audience: "public",
    source: () => new Promise((answer) => questions.push(answer)),
    streamed: async () => null,
    read: () => NOTHING_FOLLOWED,
    save: () => {},
    refused: () => {},
    call: async () => expect.fail("nobody is called"),
    open: async () => expect.fail("nobody is called"),
    hasRoom: async () => true,
    take: async () => ({ arrivals: [], waitMs: 0 }),
  };
  return { log, questions };
}

it("that follows nothing stops, and starts anew when asked", async () => {
  const { log, questions } = asking();
  const follower = new Follower(log);
  for (let i = 1; i <= 2; i++) {
    const running = follower.start();
    expect(running).not.toBeNull();
    questions.pop()?.(null);
    await running;
  }
});

it("that could not learn whether it follows asks again, ever less often, until it learns", async () => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  const askedAtMs: number[] = [];
  const { log } = asking();
  const source = async () => {
    askedAtMs.push(Date.now());
    if (askedAtMs.length <= 3) throw new Error("late");
    return null;
  };
  const running = new Follower({ ...log, source }).start();
  await vi.runAllTimersAsync();
  await running;
  const waits = askedAtMs.slice(1).map((atMs, i) => atMs - (askedAtMs[i] ?? 0));
  const { followBackoffMinMs: min } = LIMITS;
  expect(waits).toEqual([2.5 * min, 4.5 * min, 8.5 * min]);
  vi.restoreAllMocks();
  vi.useRealTimers();
});

it("that was about to stop by an old answer when it was started again asks again", async () => {
  const { log, questions } = asking();
  const follower = new Follower(log);
  const running = follower.start();
  expect(questions).toHaveLength(1);
  // A switch is turned while the answer of before is on its way.
  expect(follower.start(), "it runs").toBeNull();
  questions[0]?.(null);
  await vi.waitFor(() => expect(questions).toHaveLength(2), { timeout: 60_000 });
  questions[1]?.(null);
  await running;
  expect(questions).toHaveLength(2);
});

it("that was started again while a try of before was failing tries soon, however often it failed", async () => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  const { log } = asking();
  const askedAtMs: number[] = [];
  const source = async () => {
    askedAtMs.push(Date.now());
    if (askedAtMs.length === 6) follower.start();
    if (askedAtMs.length <= 6) throw new Error("late");
    return null;
  };
  const follower = new Follower({ ...log, source });
  const running = follower.start();
  await vi.runAllTimersAsync();
  await running;
  const waits = askedAtMs.slice(1).map((atMs, i) => atMs - (askedAtMs[i] ?? 0));
  expect(waits.slice(4)).toEqual([expect.closeTo(32.5 * LIMITS.followBackoffMinMs, 0), LIMITS.followBackoffMinMs]);
  vi.restoreAllMocks();
  vi.useRealTimers();
});
