import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Moment, SharedAnswer } from "../../../edge/limits/shared-answer.ts";

const LIMITS = { keptMs: 100, lostMs: 250 };
const PATIENCE_MS = 1_000;

beforeEach(() => vi.useFakeTimers({ toFake: ["Date", "performance", "setTimeout", "clearTimeout"] }));
afterEach(() => vi.useRealTimers());
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const later = <T>(ms: number, value: T) => new Promise<T>((resolve) => setTimeout(resolve, ms, value));

/** Answers each question with its number, when the test says so. The test can shift the wall clock. */
function asker() {
  const questions: PromiseWithResolvers<number>[] = [];
  let wallAheadMs = 0;
  const now = (): Moment => ({ wallMs: Date.now() + wallAheadMs, steadyMs: performance.now() });
  const shared = new SharedAnswer<number>(LIMITS, now);
  const get = async (patienceMs = PATIENCE_MS) => {
    const ask = () => {
      const question = Promise.withResolvers<number>();
      questions.push(question);
      return question.promise;
    };
    return (await shared.get(ask, patienceMs))?.value ?? null;
  };
  const answer = async (number: number) => {
    questions[number - 1]?.resolve(number);
    await pass(30);
  };
  const wall = (aheadMs: number) => {
    wallAheadMs = aheadMs;
  };
  return { questions, shared, get, answer, wall };
}

describe("a shared answer", () => {
  it.each<[what: string, afterMs: number, wallAheadMs: number, asks: number]>([
    ["serves a request just before it is too old", 99, 0, 1],
    ["serves no request after that", 100, 0, 2],
    ["serves no request when the wall clock has stepped back", 10, -11, 2],
    ["is too old although the wall clock stands still", 100, -100, 2],
    ["is too old although the wall clock stepped back almost to its time", 200, -199, 2],
    ["is too old although only the wall clock advanced", 0, 100, 2],
  ])("%s", async (_what, afterMs, wallAheadMs, asks) => {
    const { questions, shared, get, wall } = asker();
    const first = get();
    questions[0]?.resolve(1);
    await first;
    await pass(afterMs);
    wall(wallAheadMs);
    expect(shared.known()).toEqual(asks === 1 ? expect.objectContaining({ value: 1 }) : null);
    const second = get();
    questions[1]?.resolve(2);
    expect(await second).toBe(asks);
    expect(questions).toHaveLength(asks);
  });

  it("serves the requests that arrived in time, however late it comes, and no others", async () => {
    const { questions, get, answer } = asker();
    const early = [get(), get()];
    await pass(99);
    early.push(get());
    await pass(1);
    const late = get();
    await pass(140);
    await answer(1);
    expect(await Promise.all(early)).toEqual([1, 1, 1]);
    await answer(2);
    expect(await late).toBe(2);
    expect(questions).toHaveLength(2);
  });

  it("that comes after a newer answer is not kept", async () => {
    const { questions, get, shared, answer } = asker();
    const early = get();
    await pass(100);
    const late = get();
    await answer(2);
    expect(await Promise.all([early, late]), "the newer answer serves the earlier request too").toEqual([2, 2]);
    questions[0]?.resolve(1);
    await pass(1);
    expect(shared.known()?.value).toBe(2);
  });

  it("that is dropped serves no later request", async () => {
    const { shared, get, answer } = asker();
    const before = get();
    shared.drop();
    const after = get();
    await answer(1);
    expect(shared.known()).toBe(null);
    await answer(2);
    expect(await Promise.all([before, after])).toEqual([1, 2]);
    expect(shared.known()?.value).toBe(2);
  });

  it("is awaited no longer than the request's patience, and is requested again meanwhile", async () => {
    const { questions, get } = asker();
    const waiting = get(400);
    await pass(249);
    expect(questions).toHaveLength(1);
    await pass(21);
    expect(questions).toHaveLength(2);
    await pass(130);
    expect(await waiting).toBe(null);
    expect(vi.getTimerCount()).toBe(0);
  });
});

/** One request each so many milliseconds, for three seconds. Each waits as long as the kill switch does. */
async function flood(everyMs: number, ask: (number: number) => Promise<string>) {
  const shared = new SharedAnswer<{ askedMs: number; said: string }>(LIMITS);
  const askedMs: number[] = [];
  const oldest: number[] = [];
  const outcomes: Promise<string>[] = [];
  const request = async () => {
    const arrivedMs = performance.now();
    const answer = await shared.get(async () => {
      const at = performance.now();
      askedMs.push(at);
      return { askedMs: at, said: await ask(askedMs.length) };
    }, PATIENCE_MS);
    if (answer !== null) oldest.push(arrivedMs - answer.value.askedMs);
    return answer?.value.said ?? "closed";
  };
  for (let atMs = 0; atMs < 3_000; atMs += everyMs) {
    outcomes.push(request());
    await pass(everyMs);
  }
  await pass(2_000);
  const gaps = askedMs.slice(1).map((at, i) => at - (askedMs[i] as number));
  return { said: new Set(await Promise.all(outcomes)), oldestMs: Math.max(...oldest), gapMs: Math.min(...gaps) };
}

describe("a flood", () => {
  const EVERY_MS = [500, 91, 50, 20, 10, 4];
  const cases = [5, 90, 200, 250, 300, 600, 900].flatMap((tookMs) =>
    EVERY_MS.map((everyMs) => [tookMs, everyMs] as const),
  );

  it.each(cases)("with answers that take %i ms and a request each %i ms closes nothing", async (tookMs, everyMs) => {
    const { said, oldestMs, gapMs } = await flood(everyMs, () => later(tookMs, "open"));
    expect(said).toEqual(new Set(["open"]));
    expect(oldestMs, "no used answer was requested too long before").toBeLessThan(LIMITS.keptMs);
    expect(gapMs, "at most ten questions a second").toBeGreaterThanOrEqual(LIMITS.keptMs);
  });

  it.each(EVERY_MS)(
    "with a request each %i ms, in which every other question is lost, closes nothing",
    async (everyMs) => {
      const never = () => new Promise<string>(() => {});
      const { said, gapMs } = await flood(everyMs, (number) => (number % 2 === 1 ? never() : later(300, "open")));
      expect(said).toEqual(new Set(["open"]));
      expect(gapMs).toBeGreaterThanOrEqual(LIMITS.keptMs);
    },
  );

  it("is refused when no answer comes, at ten questions a second", async () => {
    const { said, gapMs } = await flood(10, () => new Promise(() => {}));
    expect(said).toEqual(new Set(["closed"]));
    expect(gapMs).toBeGreaterThanOrEqual(LIMITS.keptMs);
  });
});
