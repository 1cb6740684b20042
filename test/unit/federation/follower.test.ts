import { afterEach, describe, expect, it, vi } from "vitest";
import { NOTHING_FOLLOWED } from "../../../edge/federation/sync/followed-log-rules.ts";
import { type FollowedLog, Follower, type SourceAnswer } from "../../../edge/federation/sync/follower.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** How a follower starts, waits and stops. `test/edge/federation-following.test.ts` tests what it does, in workerd. */

const STOP: SourceAnswer = { type: "stop" };
const UNKNOWN: SourceAnswer = { type: "unknown" };

const LOG: FollowedLog = {
  audience: "public",
  source: async () => STOP,
  streamSource: async () => null,
  read: () => NOTHING_FOLLOWED,
  save: () => {},
  refused: () => {},
  call: async () => expect.fail("it must not call the peer"),
  open: async () => expect.fail("it must not call the peer"),
  room: async () => "room",
  take: async () => ({ type: "taken", results: [], waitMs: 0 }),
  reportBug: (error) => expect.fail(String(error)),
};

/** A log whose questions for its source the test answers one by one. */
function asked() {
  const questions: ((source: SourceAnswer) => void)[] = [];
  const log: FollowedLog = { ...LOG, source: () => new Promise((answer) => questions.push(answer)) };
  return { log, questions };
}

/** Runs a follower on a fake clock until it stops: the waits between its questions for its source. */
async function waitsOf(answer: (questions: number, follower: Follower) => SourceAnswer, log = LOG): Promise<number[]> {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  const askedAtMs: number[] = [];
  const follower: Follower = new Follower({
    ...log,
    source: async () => {
      askedAtMs.push(Date.now());
      return answer(askedAtMs.length, follower);
    },
  });
  const running = follower.start();
  await vi.runAllTimersAsync();
  await running;
  return askedAtMs.slice(1).map((atMs, i) => atMs - (askedAtMs[i] ?? 0));
}

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("a follower", () => {
  it("stops when its log is not followed, and can be started again", async () => {
    const { log, questions } = asked();
    const follower = new Follower(log);
    for (let i = 1; i <= 2; i++) {
      const running = follower.start();
      expect(running).not.toBeNull();
      questions.pop()?.(STOP);
      await running;
    }
  });

  it("asks again, with growing waits, while the switches do not answer", async () => {
    const waits = await waitsOf((questions) => (questions <= 3 ? UNKNOWN : STOP));
    const { followBackoffMinMs: min } = LIMITS;
    expect(waits).toEqual([2.5 * min, 4.5 * min, 8.5 * min]);
  });

  it("asks again when it is started while an older answer, which would stop it, is on its way", async () => {
    const { log, questions } = asked();
    const follower = new Follower(log);
    const running = follower.start();
    expect(questions).toHaveLength(1);
    expect(follower.start(), "it is running").toBeNull();
    questions[0]?.(STOP);
    await vi.waitFor(() => expect(questions).toHaveLength(2), { timeout: 60_000 });
    questions[1]?.(STOP);
    await running;
    expect(questions).toHaveLength(2);
  });

  it("tries again soon, after any number of failures, when it is started during a round that fails", async () => {
    const waits = await waitsOf((questions, follower) => {
      if (questions === 6) follower.start();
      return questions <= 6 ? UNKNOWN : STOP;
    });
    expect(waits.slice(4)).toEqual([expect.closeTo(32.5 * LIMITS.followBackoffMinMs, 0), LIMITS.followBackoffMinMs]);
  });

  it("reports an unexpected exception as a bug, does not count it as a lost connection, and continues later", async () => {
    const bug = new TypeError("a bug");
    const reported: unknown[] = [];
    const log: FollowedLog = {
      ...LOG,
      room: () => Promise.reject(bug),
      reportBug: (error) => reported.push(error),
    };
    const source = { atomId: "", publicKey: "", audience: "public" } as const;
    const answers: SourceAnswer[] = [{ type: "follow", source }, UNKNOWN, STOP];
    const waits = await waitsOf((questions) => answers[questions - 1] ?? STOP, log);
    expect(reported).toEqual([bug]);
    expect(waits, "the first failure comes after the bug").toEqual([
      LIMITS.followBackoffMaxMs,
      2.5 * LIMITS.followBackoffMinMs,
    ]);
  });
});
