import type { Token } from "node-llama-cpp";
import { describe, expect, it } from "vitest";
import { logprobsOf, sampleToken, seededRandom } from "../../worker-agent/engine/llama/token-logprobs.ts";

const token = (n: number) => n as Token;
const logits = [
  [token(1), 0],
  [token(2), 2],
  [token(3), -1],
] as const;
const total = logits.reduce((sum, [, logit]) => sum + Math.exp(logit - 2), 0);

describe("log probabilities", () => {
  it("cover the whole vocabulary, the likeliest first", () => {
    const found = logprobsOf(logits, total);
    expect(found.map((one) => one.token)).toEqual([2, 1, 3]);
    expect(found.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)).toBeCloseTo(1, 10);
    // The listed tokens have half of the probability; the rest of the vocabulary has the other half.
    const half = logprobsOf(logits, 2 * total);
    expect(half.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)).toBeCloseTo(0.5, 10);
  });

  it("are numbers even for impossible tokens", () => {
    const logits = [[token(1), 0] as const, [token(2), Number.NEGATIVE_INFINITY] as const];
    expect(logprobsOf(logits, 1)).toEqual([
      { token: 1, logprob: 0 },
      { token: 2, logprob: -9999 },
    ]);
  });

  it("are never above zero despite rounding", () => {
    expect(logprobsOf([[token(1), 7]], 0.999_999)).toEqual([{ token: 1, logprob: 0 }]);
  });
});

describe("a token is sampled", () => {
  const candidates = logprobsOf(logits, total);
  const drawing = { temperature: 1, topP: 1, topK: 1_000, seed: 1 };
  const shares = (change: object) => {
    const random = seededRandom(7);
    const counts = new Map<number, number>();
    for (let i = 0; i < 20_000; i++) {
      const drawn = sampleToken(candidates, { ...drawing, ...change }, random()).token;
      counts.set(drawn, (counts.get(drawn) ?? 0) + 1);
    }
    return candidates.map((one) => (counts.get(one.token) ?? 0) / 20_000);
  };

  it("according to the distribution", () => {
    for (const [at, share] of shares({}).entries())
      expect(share).toBeCloseTo(Math.exp(candidates[at]?.logprob ?? 0), 1);
  });

  it("as the likeliest at temperature 0 and with the smallest nucleus", () => {
    expect(shares({ temperature: 0 })).toEqual([1, 0, 0]);
    expect(shares({ topP: 0 })).toEqual([1, 0, 0]);
  });

  it("more evenly at a high temperature, within the nucleus only", () => {
    const [likeliest = 0, second = 0, third = 1] = shares({ temperature: 100, topP: 0.9 });
    expect(likeliest).toBeCloseTo(0.5, 1);
    expect(second).toBeCloseTo(0.5, 1);
    expect(third).toBe(0);
  });

  it("at both ends of the generator's range", () => {
    expect(sampleToken(candidates, drawing, 0).token).toBe(2);
    expect(sampleToken(candidates, drawing, 1 - 2 ** -32).token).toBe(3);
  });

  it("equally for the same seed, and differently for another", () => {
    const drawn = (seed: number) => Array.from({ length: 8 }, seededRandom(seed));
    expect(drawn(1)).toEqual(drawn(1));
    expect(drawn(1)).not.toEqual(drawn(2));
    for (const one of Array.from({ length: 1_000 }, seededRandom(2 ** 32 - 1))) expect(one >= 0 && one < 1).toBe(true);
  });
});
