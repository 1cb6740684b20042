import type { ControlledEvaluateInputItem, LlamaContextSequence, Token } from "node-llama-cpp";

/** A sampled token with its log probability and those of the likeliest tokens. */
export interface SampledToken {
  readonly token: Token;
  /** Natural logarithm of the model's own probability, before temperature and top-p. */
  readonly logprob: number;
  /** The likeliest first. */
  readonly top: readonly { readonly token: Token; readonly logprob: number }[];
}

export interface SamplingSettings {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number;
}

/** JSON has no minus infinity. OpenAI uses this number for almost impossible tokens. */
const MIN_LOGPROB = -9999;

interface Candidate {
  readonly token: Token;
  readonly logprob: number;
}

/**
 * Generates token after token with log probabilities. After llama.cpp's chain of samplers the values are no longer the
 * model's probabilities. So this function reads the highest raw logits and samples from them, with the same steps as
 * llama.cpp's chain. A grammar cannot be used here.
 *
 * @param rest the end of the prompt, which is not evaluated yet
 * @param topCount how many of the likeliest tokens to report
 */
export async function* sampleWithLogprobs(
  sequence: LlamaContextSequence,
  rest: readonly Token[],
  settings: SamplingSettings,
  topCount: number,
): AsyncGenerator<SampledToken, void, undefined> {
  const random = seededRandom(settings.seed);
  const generateNext = {
    logits: { filter: { tokens: [], includeTop: Math.max(settings.topK, topCount) } },
    totalLogitWeight: true,
    // With these options the samplers do not change the logits.
    options: { temperature: 1, topK: 0, topP: 1, minP: 0 },
  };
  let tokens = rest;
  for (;;) {
    const last = tokens.length - 1;
    const input = tokens.map(
      (token, at): ControlledEvaluateInputItem => (at === last ? [token, { generateNext }] : token),
    );
    const { next } = (await sequence.controlledEvaluate(input))[last] ?? {};
    if (next?.logits === undefined || next.totalLogitWeight === undefined)
      throw new Error("llama.cpp returned no logits.");
    const candidates = logprobsOf([...next.logits], next.totalLogitWeight);
    const sampled = sampleToken(candidates.slice(0, settings.topK), settings, random());
    yield { ...sampled, top: candidates.slice(0, topCount) };
    tokens = [sampled.token];
  }
}

/**
 * Log probabilities from logits, the highest first.
 *
 * @param totalWeight sum of exp(logit - highest logit) over the whole vocabulary
 */
export function logprobsOf(logits: readonly (readonly [Token, number])[], totalWeight: number): Candidate[] {
  const highest = logits.reduce((max, [, logit]) => Math.max(max, logit), Number.NEGATIVE_INFINITY);
  const logOfTotal = Math.log(totalWeight);
  return logits
    .map(([token, logit]) => ({ token, logprob: Math.max(MIN_LOGPROB, Math.min(0, logit - highest - logOfTotal)) }))
    .sort((a, b) => b.logprob - a.logprob);
}

/**
 * Picks a token by top-p, then temperature.
 *
 * @param candidates at least one, the likeliest first
 * @param random in [0, 1)
 */
export function sampleToken(
  candidates: readonly Candidate[],
  { temperature, topP }: SamplingSettings,
  random: number,
): Candidate {
  const [likeliest] = candidates;
  if (likeliest === undefined) throw new Error("There is no token to sample.");
  if (temperature <= 0) return likeliest;
  const total = candidates.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0);
  let mass = 0;
  const kept = candidates.filter(({ logprob }) => {
    const isKept = mass < topP * total;
    mass += Math.exp(logprob);
    return isKept;
  });
  const nucleus = kept.length > 0 ? kept : [likeliest];
  const weights = nucleus.map(({ logprob }) => Math.exp((logprob - likeliest.logprob) / temperature));
  let left = random * weights.reduce((sum, weight) => sum + weight, 0);
  for (const [at, candidate] of nucleus.entries()) {
    left -= weights[at] ?? 0;
    if (left < 0) return candidate;
  }
  return nucleus.at(-1) ?? likeliest;
}

/** The generator mulberry32: numbers in [0, 1) from a seed of 32 bits. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
