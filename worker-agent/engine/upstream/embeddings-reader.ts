import * as z from "zod";
import { claimedUsage } from "./usage-rules.ts";

const embeddings = z.object({
  data: z.array(z.object({ index: z.int().nullish(), embedding: z.array(z.number()).min(1) })),
  usage: z.unknown().optional(),
});

export interface EmbeddingsReading {
  /** In the order of the inputs, normalised to length 1 (L2). */
  readonly vectors: readonly Float32Array[];
  readonly promptTokens: number | null;
}

/** Returns null if the value is not one vector for each input, all with the same dimensions. */
export function readEmbeddings(value: unknown, inputs: number): EmbeddingsReading | null {
  const parsed = embeddings.safeParse(value);
  if (!parsed.success || parsed.data.data.length !== inputs) return null;
  const ordered = parsed.data.data
    .map(({ index, embedding }, at) => ({ index: index ?? at, embedding }))
    .sort((a, b) => a.index - b.index);
  const dimensions = ordered[0]?.embedding.length;
  if (ordered.some(({ index, embedding }, at) => index !== at || embedding.length !== dimensions)) return null;
  const vectors = ordered.map(({ embedding }) => {
    const norm = Math.hypot(...embedding);
    return Float32Array.from(embedding, (value) => (norm === 0 ? 0 : value / norm));
  });
  return { vectors, promptTokens: claimedUsage(parsed.data.usage)?.promptTokens ?? null };
}
