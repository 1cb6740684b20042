import { getRandomValues } from "node:crypto";
import type { ChatRequest } from "../../../schema/wire/worker-frames.ts";

/**
 * The defaults for a request without these parameters. OpenAI's defaults (1 and 1) are meant for very large models: at
 * temperature 1 a small model picks too many improbable tokens.
 */
const DEFAULT_SAMPLING = Object.freeze({ temperature: 0.7, topP: 0.95 } as const);

/**
 * The limit of candidates if the request sets none. The library's default of 40 would change answers. No limit would be
 * slow: sorting a vocabulary of 150,000 takes longer than a token of a small model. Candidates beyond the thousandth do
 * not matter at any usual temperature.
 */
const TOP_CANDIDATES = 1_000;

interface Sampling {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number;
}

/** The sampling parameters of a request, with defaults for those that it lacks. */
export function samplingOf(request: Pick<ChatRequest, "temperature" | "topP" | "topK" | "seed">): Sampling {
  return {
    temperature: request.temperature ?? DEFAULT_SAMPLING.temperature,
    topP: request.topP ?? DEFAULT_SAMPLING.topP,
    topK: Math.min(request.topK ?? TOP_CANDIDATES, TOP_CANDIDATES),
    // Without a seed the library uses the current second, which is the same for jobs that start together.
    seed: samplerSeed(request.seed ?? randomSeed()),
  };
}

/** llama.cpp's seeds have 32 bits, and the highest value means "random". */
const SEEDS = 2 ** 32 - 1;

function samplerSeed(seed: number): number {
  return ((seed % SEEDS) + SEEDS) % SEEDS;
}

function randomSeed(): number {
  return getRandomValues(new Uint32Array(1))[0] ?? 0;
}
