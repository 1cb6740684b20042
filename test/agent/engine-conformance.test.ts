import type { Llama } from "node-llama-cpp";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { EmbeddingEvent, Engine, GenerationEvent, GenerationJob } from "../../worker-agent/engine/engine.ts";
import { startLlama, stopLlama } from "../../worker-agent/engine/llama/llama-runtime.ts";
import { CASES, type Claims, type OpenedEngine, runCase } from "./engine-conformance.ts";
import { type LoadedModel, loadEmbedded } from "./loaded-model.ts";

/** A throwaway engine: the real one, with one promise broken. */
type Break = (engine: Engine) => Partial<Pick<Engine, "models" | "generate" | "dispose">> & {
  readonly embed?: NonNullable<Engine["embed"]>;
};

const CLAIMS: Claims = {
  completion: true,
  embedding: true,
  stop: true,
  tools: true,
  responseFormat: true,
  logprobs: true,
  topK: true,
  countTokens: true,
  seed: true,
};

let runtime: Llama;
let model: LoadedModel;
beforeAll(async () => {
  runtime = await startLlama({ gpu: false });
  model = await loadEmbedded({ slots: 2, runtime });
});
afterAll(() => stopLlama(runtime));

/** Applies a change to each event of a job. */
const events =
  (change: (event: GenerationEvent) => readonly GenerationEvent[]): Break =>
  (engine) => ({
    async *generate(job, signal) {
      for await (const event of engine.generate(job, signal)) yield* change(event);
    },
  });

/** Runs each job without some members of its request. */
const without =
  (...members: string[]): Break =>
  (engine) => ({
    generate: (job, signal) => {
      const kept = Object.entries(job.request).filter(([member]) => !members.includes(member));
      return engine.generate({ ...job, request: Object.fromEntries(kept) } as GenerationJob, signal);
    },
  });

it.each<[fault: string, noticed: RegExp, fault: Break]>([
  [
    "claims a kind that it does not offer",
    /^lists its models/,
    (engine) => ({ models: () => engine.models().map((offer) => ({ ...offer, kinds: ["chat"] })) }),
  ],
  ["ends twice", /^streams a chat/, events((event) => (event.type === "end" ? [event, event] : [event]))],
  ["sends empty text", /^streams a chat/, events((event) => [event, { type: "text", text: "", tokens: 0 }])],
  [
    "ends inside a character",
    /^streams a chat/,
    events((event) => (event.type === "text" ? [{ ...event, text: `${event.text}\uD83D` }] : [event])),
  ],
  [
    "counts more tokens than it generated",
    /^streams a chat/,
    events((event) =>
      event.type === "end"
        ? [{ ...event, usage: { ...event.usage, completionTokens: event.usage.completionTokens + 1 } }]
        : [event],
    ),
  ],
  [
    "says stop at max_tokens",
    /^ends with length/,
    events((event) => (event.type === "end" ? [{ ...event, finishReason: "stop" }] : [event])),
  ],
  ["ignores max_tokens", /^ends with length/, without("maxTokens")],
  ["ignores stop sequences", /^cuts the answer/, without("stop")],
  ["ignores tools", /^calls a required tool/, without("tools", "toolChoice")],
  ["ignores the response format", /^answers with JSON/, without("responseFormat")],
  ["ignores log probabilities", /^gives a log probability/, without("topLogprobs")],
  ["generates instead of counting", /^counts the tokens/, without("countTokens")],
  ["ignores the seed", /^gives the same answer/, without("seed")],
  [
    "fails without the right code",
    /^refuses a model/,
    events((event) => (event.type === "failed" ? [{ ...event, code: "inference/engine-failed" }] : [event])),
  ],
  [
    "ends after an abort",
    /^ends a job without a result after an abort/,
    (engine) => ({
      async *generate(job, signal) {
        yield* engine.generate(job, signal);
        const usage = { promptTokens: 1, completionTokens: 1 };
        if (signal.aborted) yield { type: "end", finishReason: "stop", usage };
      },
    }),
  ],
  [
    "ignores an abort",
    /^ends a job without a result after an abort/,
    (engine) => ({ generate: (job) => engine.generate(job, new AbortController().signal) }),
  ],
  [
    "continues after the consumer has left",
    /^stops when the consumer leaves/,
    (engine) => ({
      async *generate(job, signal) {
        const inner = engine.generate(job, signal)[Symbol.asyncIterator]();
        // Without `return`, the inner generator keeps its slot until it is read to its end.
        for (let next = await inner.next(); next.done !== true; next = await inner.next()) yield next.value;
      },
    }),
  ],
  [
    "runs one job at a time",
    /^runs as many jobs at once/,
    (engine) => {
      let last: Promise<unknown> = Promise.resolve();
      return {
        async *generate(job, signal) {
          const before = last;
          let done = () => {};
          last = new Promise<void>((resolve) => {
            done = resolve;
          });
          await before;
          try {
            yield* engine.generate(job, signal);
          } finally {
            done();
          }
        },
      };
    },
  ],
  [
    "does not end its jobs when it is closed",
    /^closes during generation/,
    () => ({
      async dispose() {},
    }),
  ],
  [
    "ignores an abort of embeddings",
    /^ends embeddings without a result/,
    (engine) => ({
      async *embed(job) {
        yield* engine.embed?.(job, new AbortController().signal) ?? [];
      },
    }),
  ],
  [
    "sends vectors in another order",
    /^makes one vector/,
    (engine) => ({
      async *embed(job, signal) {
        const input = job.request.input.toReversed();
        yield* engine.embed?.({ ...job, request: { ...job.request, input } }, signal) ?? [];
      },
    }),
  ],
  [
    "sends vectors of another length",
    /^makes one vector/,
    (engine) => ({
      async *embed(job, signal) {
        for await (const event of engine.embed?.(job, signal) ?? []) yield scaled(event);
      },
    }),
  ],
])("the suite notices an engine that %s", async (_fault, noticed, breakPromise) => {
  const [conformance, ...others] = CASES.filter(({ promise }) => noticed.test(promise));
  if (conformance === undefined || others.length > 0) return expect.fail("name one case");
  // Each fault gets its own model, because some faults leave jobs behind.
  const own = await loadEmbedded({ slots: 2, runtime });
  const open = async () => broken(own, breakPromise);
  const opened = await open();
  const subject = { claims: CLAIMS, open, patienceMs: 5_000 };
  await expect(runCase(conformance, opened, subject)).rejects.toThrow();
  // The unbroken engine passes the same case.
  await runCase(conformance, { ...model, close: async () => {} }, { ...subject, open: openHonest });
});

const openHonest = async (): Promise<OpenedEngine> => ({
  ...(await loadEmbedded({ slots: 2, runtime })),
  close: async () => {},
});

function broken({ engine, counters }: LoadedModel, breakPromise: Break): OpenedEngine {
  const honest: Engine = {
    kind: engine.kind,
    models: () => engine.models(),
    generate: (job, signal) => engine.generate(job, signal),
    embed: (job, signal) => engine.embed(job, signal),
    dispose: () => engine.dispose(),
  };
  return { engine: { ...honest, ...breakPromise(honest) }, counters, close: async () => {} };
}

function scaled(event: EmbeddingEvent): EmbeddingEvent {
  return event.type === "vector" ? { ...event, vector: event.vector.map((value) => 2 * value) } : event;
}
