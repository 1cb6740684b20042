import type { LlamaContextSequence, LlamaModel } from "node-llama-cpp";
import { createContext } from "./llama-runtime.ts";

const BURST = Object.freeze({ ms: 500, warmUpTokens: 2, tokens: 48, contextTokens: 256 } as const);

/**
 * Measures tokens a second with a given number of threads. Several sequences run at once, as jobs will: each generates a
 * few warm-up tokens, then up to 48 tokens within half a second.
 */
export async function measureThreads(model: LlamaModel, threads: number, sequences: number): Promise<number> {
  const context = await createContext(model, { sequences, contextTokens: BURST.contextTokens, threads });
  try {
    let totalTokens = 0;
    const startsMs: number[] = [];
    const endsMs: number[] = [];
    const first = model.tokens.bos ?? model.tokens.eos ?? model.tokenize("a")[0];
    if (first === undefined) return 0;
    const run = async (sequence: LlamaContextSequence) => {
      let tokens = 0;
      let startMs = 0;
      for await (const _ of sequence.evaluate([first], { temperature: 1, yieldEogToken: true })) {
        tokens++;
        if (tokens === BURST.warmUpTokens) startMs = performance.now();
        const isOver = tokens >= BURST.tokens || performance.now() - startMs > BURST.ms;
        if (tokens > BURST.warmUpTokens && isOver) break;
      }
      totalTokens += tokens - BURST.warmUpTokens;
      startsMs.push(startMs);
      endsMs.push(performance.now());
    };
    await Promise.all(Array.from({ length: sequences }, () => run(context.getSequence())));
    return (totalTokens * 1_000) / Math.max(1, Math.max(...endsMs) - Math.min(...startsMs));
  } finally {
    await context.dispose();
  }
}
