import { getRandomValues } from "node:crypto";
import type { ChatRequest } from "../../../schema/wire/worker-frames.ts";

/**
 * What a request that says nothing gets. Cooler than OpenAI's 1 / 1, which is meant for very large models: at
 * temperature 1 a small model wanders off into its vocabulary's tail.
 */
const DEFAULT_SAMPLING = Object.freeze({ temperature: 0.7, topP: 0.95 } as const);

/**
 * Not the library's default of 40, which no request asked for; and not all, because sorting a vocabulary of 150,000 takes
 * longer than a small model's token. What lies beyond the thousandth candidate is noise at any temperature in use.
 */
const TOP_CANDIDATES = 1_000;

interface Sampling {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number;
}

export function samplingOf(request: Pick<ChatRequest, "temperature" | "topP" | "topK" | "seed">): Sampling {
  return {
    temperature: request.temperature ?? DEFAULT_SAMPLING.temperature,
    topP: request.topP ?? DEFAULT_SAMPLING.topP,
    topK: Math.min(request.topK ?? TOP_CANDIDATES, TOP_CANDIDATES),
    // Without a seed the library would take the clock's second, the same one for jobs that start together.
    seed: samplerSeed(request.seed ?? randomSeed()),
  };
}

/** llama.cpp's seeds are 32 bits, and the highest value means "random". */
const SEEDS = 2 ** 32 - 1;

function samplerSeed(seed: number): number {
  return ((seed % SEEDS) + SEEDS) % SEEDS;
}

function randomSeed(): number {
  return getRandomValues(new Uint32Array(1))[0] ?? 0;
}
