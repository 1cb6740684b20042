import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { EmbeddingEvent } from "../../worker-agent/engine/engine.ts";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import { type LoadedModel, loadEmbedded } from "./loaded-model.ts";

let model: LoadedModel;
beforeAll(async () => {
  model = await loadEmbedded();
});
afterAll(() => model.engine.dispose());

const DIMENSIONS = 256;

async function embed(
  input: string[],
  request: { dimensions?: number } = {},
  signal = new AbortController().signal,
): Promise<EmbeddingEvent[]> {
  const job = { model: EMBEDDED_MODEL.name, request: { input, stream: false as const, ...request } };
  return Array.fromAsync(model.engine.embed(job, signal));
}
const vectors = (events: EmbeddingEvent[]) =>
  events.flatMap((event) => (event.type === "vector" ? [event.vector] : []));
const cosine = (a: ArrayLike<number> = [], b: ArrayLike<number> = []) =>
  Array.from(a).reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);

describe("embeddings", () => {
  it("are vectors of length 1, one for each input in order, and the same for the same text", async () => {
    const texts = ["What is a pool?", "What is a worker?", "What is a pool?", "Ein Pool, 漢字 und 😀."];
    const events = await embed(texts);
    expect(events.map(({ type }) => type)).toEqual(["accepted", "vector", "vector", "vector", "vector", "end"]);
    const [pool, worker, again, other] = vectors(events);
    for (const vector of [pool, worker, other]) {
      expect(vector).toHaveLength(DIMENSIONS);
      expect(Math.hypot(...(vector ?? []))).toBeCloseTo(1, 5);
    }
    expect(cosine(pool, again)).toBeCloseTo(1, 5);
    expect(cosine(pool, worker)).toBeLessThan(0.999);
    expect(cosine(pool, vectors(await embed(["What is a pool?"]))[0])).toBeCloseTo(1, 5);
    expect(events[0]).toEqual({ type: "accepted", promptTokens: expect.any(Number) });
    expect(events.at(-1)).toEqual({ ...events[0], type: "end" });
  });

  it("are refused in other dimensions than the model's", async () => {
    expect((await embed(["x"], { dimensions: DIMENSIONS })).at(-1)).toMatchObject({ type: "end" });
    expect(await embed(["x"], { dimensions: 64 })).toEqual([
      expect.objectContaining({ type: "failed", code: "http/unsupported-parameter", param: "dimensions" }),
    ]);
  });

  it.each([2_000, 1_000_000])(
    "of a text too long by far or by little (%i words) are refused, naming it",
    async (words) => {
      expect(await embed(["short", " pool".repeat(words)])).toEqual([
        expect.objectContaining({ type: "failed", code: "inference/context-length-exceeded", param: "input.1" }),
      ]);
    },
  );

  it("are made of long texts that fit", async () => {
    const events = await embed([" pool".repeat(1_000)]);
    expect(events.at(-1)).toMatchObject({ type: "end" });
    expect(Math.hypot(...(vectors(events)[0] ?? []))).toBeCloseTo(1, 5);
  });

  it("stop at an abort and leave nothing running", async () => {
    const abort = new AbortController();
    const job = { model: EMBEDDED_MODEL.name, request: { input: Array(50).fill("pool"), stream: false as const } };
    const seen: string[] = [];
    for await (const { type } of model.engine.embed(job, abort.signal)) {
      seen.push(type);
      if (type === "vector") abort.abort();
    }
    expect(seen).toEqual(["accepted", "vector"]);
    expect(model.counters.values.activeGenerations).toBe(0);
  });

  it("from another model are refused", async () => {
    const job = { model: "other", request: { input: ["x"], stream: false as const } };
    expect(await Array.fromAsync(model.engine.embed(job, new AbortController().signal))).toEqual([
      expect.objectContaining({ type: "failed", code: "inference/model-not-found" }),
    ]);
  });
});
