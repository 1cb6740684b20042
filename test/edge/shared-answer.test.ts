import { describe, expect, it } from "vitest";
import { type Moment, SharedAnswer } from "../../edge/http/shared-answer.ts";

/** Far more than a test takes: only the times that are passed in decide. */
const KEPT_MS = 60_000;

function asker() {
  const answers: PromiseWithResolvers<number>[] = [];
  const shared = new SharedAnswer<number>(KEPT_MS);
  const atMoment = (now: Moment) =>
    shared.get(
      () => {
        const answer = Promise.withResolvers<number>();
        answers.push(answer);
        return answer.promise;
      },
      () => now,
    );
  const at = (nowMs: number) => atMoment({ wallMs: nowMs, steadyMs: nowMs });
  return { answers, shared, at, atMoment };
}

describe("a shared answer", () => {
  it.each<[what: string, nowMs: number, asks: number]>([
    ["serves who comes at once", 0, 1],
    ["serves who comes just before it is too old", KEPT_MS - 1, 1],
    ["serves nobody after that", KEPT_MS, 2],
    ["serves nobody when the clock has stepped back", -1, 2],
  ])("%s", async (_what, nowMs, asks) => {
    const { answers, at } = asker();
    const first = at(0);
    answers[0]?.resolve(1);
    await first;
    const second = at(nowMs);
    answers[1]?.resolve(2);
    expect(await second).toBe(asks);
    expect(answers).toHaveLength(asks);
  });

  it("serves those who come while it is under way, for as long as it may be used", async () => {
    const { answers, at } = asker();
    const early = [at(0), at(1), at(KEPT_MS - 1)];
    const late = at(KEPT_MS);
    expect(answers).toHaveLength(2);
    answers[1]?.resolve(2);
    answers[0]?.resolve(1);
    expect(await Promise.all([...early, late])).toEqual([1, 1, 1, 2]);
    expect(await at(KEPT_MS + 1), "the older answer came last and is not kept").toBe(2);
  });

  it("that is dropped serves nobody who comes later", async () => {
    const { answers, shared, at } = asker();
    const before = at(0);
    shared.drop();
    const after = at(0);
    answers[0]?.resolve(1);
    answers[1]?.resolve(2);
    expect(await Promise.all([before, after])).toEqual([1, 2]);
    expect(await at(1)).toBe(2);
  });

  it.each<[what: string, now: Moment]>([
    ["the wall clock stands still", { wallMs: 0, steadyMs: KEPT_MS }],
    ["the wall clock steps back to where it was", { wallMs: 1, steadyMs: 2 * KEPT_MS }],
    ["only the wall clock goes on", { wallMs: KEPT_MS, steadyMs: 0 }],
  ])("is too old in time though %s", async (_what, now) => {
    const { answers, at, atMoment } = asker();
    const first = at(0);
    answers[0]?.resolve(1);
    await first;
    const second = atMoment(now);
    answers[1]?.resolve(2);
    expect(await second).toBe(2);
  });

  it("that never comes, since who asked for it is gone, is asked for again by who waits", async () => {
    const shared = new SharedAnswer<number>(10);
    const now = () => ({ wallMs: 0, steadyMs: 0 });
    let asks = 0;
    const gone = shared.get(() => new Promise(() => {}), now);
    const waiting = Array.from({ length: 5 }, () => shared.get(async () => ++asks, now));
    expect(await Promise.all(waiting)).toEqual([1, 1, 1, 1, 1]);
    gone.catch(() => {});
  });
});
