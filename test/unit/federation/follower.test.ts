import { expect, it, vi } from "vitest";
import { type FollowedLog, Follower } from "../../../edge/federation/follower.ts";
import { NOTHING_FOLLOWED, type Source } from "../../../edge/federation/sync-machine.ts";

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
    call: async () => expect.fail("nobody is called"),
    open: async () => expect.fail("nobody is called"),
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

it("that was about to stop by an old answer when it was started again asks again", async () => {
  const { log, questions } = asking();
  const follower = new Follower(log);
  const running = follower.start();
  expect(questions).toHaveLength(1);
  // A switch is turned while the answer of before is on its way.
  expect(follower.start(), "it runs").toBeNull();
  questions[0]?.(null);
  await vi.waitFor(() => expect(questions).toHaveLength(2));
  questions[1]?.(null);
  await running;
  expect(questions).toHaveLength(2);
});
