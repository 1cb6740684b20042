import type { ControlledEvaluateInputItem, LlamaContextSequence, Token } from "node-llama-cpp";

/** A token that was drawn, and what the model's own distribution says of it and of the likeliest tokens. */
export interface MeasuredToken {
  readonly token: Token;
  /** Natural logarithm, before temperature and top-p: what the model says, not what the request makes of it. */
  readonly logprob: number;
  /** The likeliest first. */
  readonly top: readonly { readonly token: Token; readonly logprob: number }[];
}

export interface Drawing {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number;
}

/** JSON has no minus infinity; OpenAI says this of what is all but impossible. */
const LEAST = -9999;

interface Candidate {
  readonly token: Token;
  readonly logprob: number;
}

/**
 * Generates token after token with log probabilities. llama.cpp samples on what its own chain of samplers leaves, whose
 * values are no probabilities of the model's any more; so it is asked for the likeliest raw logits, and the token is
 * drawn from them here, in the order of llama.cpp's chain. A grammar cannot take part in this.
 *
 * @param rest the end of the prompt, not evaluated yet
 * @param most how many of the likeliest tokens are told
 */
export async function* measuredTokens(
  sequence: LlamaContextSequence,
  rest: readonly Token[],
  drawing: Drawing,
  most: number,
): AsyncGenerator<MeasuredToken, void, undefined> {
  const random = randomOf(drawing.seed);
  const generateNext = {
    logits: { filter: { tokens: [], includeTop: Math.max(drawing.topK, most) } },
    totalLogitWeight: true,
    // The samplers leave the logits as the model gave them.
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
      throw new Error("The engine told no logits.");
    const candidates = logprobsOf([...next.logits], next.totalLogitWeight);
    const drawn = draw(candidates.slice(0, drawing.topK), drawing, random());
    yield { ...drawn, top: candidates.slice(0, most) };
    tokens = [drawn.token];
  }
}

/** @param totalWeight sum of exp(logit - highest logit) over the whole vocabulary */
export function logprobsOf(logits: readonly (readonly [Token, number])[], totalWeight: number): Candidate[] {
  const highest = logits.reduce((most, [, logit]) => Math.max(most, logit), Number.NEGATIVE_INFINITY);
  const logOfTotal = Math.log(totalWeight);
  return logits
    .map(([token, logit]) => ({ token, logprob: Math.max(LEAST, Math.min(0, logit - highest - logOfTotal)) }))
    .sort((a, b) => b.logprob - a.logprob);
}

/** @param candidates the likeliest first, at least one. @param random in [0, 1) */
export function draw(candidates: readonly Candidate[], { temperature, topP }: Drawing, random: number): Candidate {
  const [likeliest] = candidates;
  if (likeliest === undefined) throw new Error("There is no token to draw.");
  if (temperature <= 0) return likeliest;
  const all = candidates.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0);
  let mass = 0;
  const kept = candidates.filter(({ logprob }) => {
    const isKept = mass < topP * all;
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

/** Numbers in [0, 1) that a seed of 32 bits decides: the generator mulberry32. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
