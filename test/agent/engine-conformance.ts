import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type {
  EmbeddingEvent,
  Engine,
  GenerationEvent,
  GenerationJob,
  ModelOffer,
} from "../../worker-agent/engine/engine.ts";
import type { Counters } from "../../worker-agent/session/counters.ts";

/** What an engine claims to support beyond chats. The suite checks each claim, and that everything else is refused. */
export interface Claims {
  readonly completion: boolean;
  readonly embedding: boolean;
  readonly stop: boolean;
  readonly tools: boolean;
  readonly responseFormat: boolean;
  readonly logprobs: boolean;
  readonly topK: boolean;
  readonly countTokens: boolean;
  /** The same seed gives the same answer. */
  readonly seed: boolean;
}

export interface OpenedEngine {
  readonly engine: Engine;
  /** The engine's meter, if it has one. */
  readonly counters?: Counters;
  /** The number of jobs that another process still computes for this engine. */
  readonly computing?: () => Promise<number>;
  close(): Promise<void>;
}

export interface EngineUnderTest {
  readonly claims: Claims;
  /** Opens an engine with at least two slots. */
  open(): Promise<OpenedEngine>;
  /** How long a job may make no progress before the suite calls it stuck. */
  readonly patienceMs?: number;
}

interface Subject extends OpenedEngine {
  readonly claims: Claims;
  readonly offer: ModelOffer;
  readonly patienceMs: number;
}

export interface ConformanceCase {
  readonly promise: string;
  /** The case applies only to engines with these claims. */
  readonly applies?: (claims: Claims) => boolean;
  run(subject: Subject, open: () => Promise<OpenedEngine>): Promise<void>;
}

type Chat = Extract<GenerationJob, { kind: "chat" }>["request"];

const QUESTION = "What is Ligand?";
const ANSWER_TOKENS = 40;

/** A greedy chat with an answer of several tokens. */
function chat({ offer }: Subject, request: Partial<Chat> = {}): GenerationJob {
  const messages: Chat["messages"] = [{ role: "user", content: QUESTION }];
  const defaults = { messages, stream: true, temperature: 0, maxTokens: ANSWER_TOKENS };
  return { model: offer.name, kind: "chat", request: { ...defaults, ...request } };
}

/** Rejects if the promise does not settle in time. */
async function within<T>({ patienceMs }: Subject, what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`stuck: ${what}`)), patienceMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Reads a job to its end. `onEvent` runs before the next event is requested. */
function run(
  subject: Subject,
  job: GenerationJob,
  signal: AbortSignal = new AbortController().signal,
  onEvent: (event: GenerationEvent) => unknown = () => {},
): Promise<GenerationEvent[]> {
  const read = async () => {
    const events: GenerationEvent[] = [];
    for await (const event of subject.engine.generate(job, signal)) {
      events.push(event);
      await onEvent(event);
    }
    return events;
  };
  return within(subject, "a job", read());
}

/** Checks the order of a job's events and the form of each, then returns the parts of the answer. */
function answerOf(events: readonly GenerationEvent[]) {
  expect(events[0]?.type).toBe("accepted");
  expect(events.filter(({ type }) => type === "accepted")).toHaveLength(1);
  const ends = events.filter(({ type }) => type === "end" || type === "failed");
  expect(ends).toHaveLength(1);
  const end = events.at(-1);
  if (end?.type !== "end") return expect.fail(`the job did not end: ${JSON.stringify(end)}`);
  let text = "";
  let tokens = 0;
  const calls: { id: string; name: string; arguments: string }[] = [];
  for (const event of events) {
    if (event.type === "text") {
      expect(event.text).not.toBe("");
      expect(event.text.isWellFormed()).toBe(true);
      expect(event.text).not.toContain("\uFFFD");
      expect(event.tokens).toBeLessThanOrEqual(Buffer.byteLength(event.text));
      expect(calls).toEqual([]);
      text += event.text;
      tokens += event.tokens;
    } else if (event.type === "tool-call") calls.push({ id: event.id, name: event.name, arguments: "" });
    else if (event.type === "tool-arguments") {
      (calls.at(-1) ?? expect.fail("arguments without a call")).arguments += event.text;
    }
  }
  return { text, tokens, calls, end };
}

/** The failure of a job that fails before it generates anything. */
function failureOf(events: readonly (GenerationEvent | EmbeddingEvent)[]) {
  const last = events.at(-1);
  if (last?.type !== "failed") return expect.fail(`the job did not fail: ${JSON.stringify(last)}`);
  expect(events.filter(({ type }) => type !== "accepted")).toEqual([last]);
  return last;
}

/** Nothing computes any more, here or in another process. */
async function expectIdle(subject: Subject): Promise<void> {
  if (subject.counters !== undefined) expect(subject.counters.values.activeGenerations).toBe(0);
  const { computing } = subject;
  if (computing === undefined) return;
  const poll = async () => {
    while ((await computing()) > 0) await new Promise(setImmediate);
  };
  await within(subject, "another process that computes an abandoned job", poll());
}

/** Starts a job in each slot and lets none continue before all of them have produced text. */
async function fillSlots(subject: Subject): Promise<GenerationEvent[][]> {
  let started = 0;
  let release = () => {};
  const all = new Promise<void>((resolve) => {
    release = resolve;
  });
  const job = () => {
    let isFirst = true;
    return run(subject, chat(subject), undefined, async ({ type }) => {
      if (type !== "text" || !isFirst) return;
      isFirst = false;
      if (++started === subject.offer.slots) release();
      await all;
    });
  };
  return Promise.all(Array.from({ length: subject.offer.slots }, job));
}

async function embed(subject: Subject, input: string[], dimensions?: number): Promise<EmbeddingEvent[]> {
  const request = { input, stream: false as const, ...(dimensions === undefined ? {} : { dimensions }) };
  const job = { model: subject.offer.name, request };
  const events = subject.engine.embed?.(job, new AbortController().signal) ?? expect.fail("no embed method");
  return within(subject, "an embedding", Array.fromAsync(events));
}

const vectorsOf = (events: readonly EmbeddingEvent[]) =>
  events.flatMap((event) => (event.type === "vector" ? [event.vector] : []));
const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);

const SCHEMA = {
  type: "object",
  properties: { found: { type: "boolean" } },
  required: ["found"],
  additionalProperties: false,
};
const TOOLS = [
  { name: "look_up", description: "Looks a word up", parameters: SCHEMA },
  { name: "forget", description: "Forgets a word", parameters: SCHEMA },
];
const isFound = (text: string) => expect(JSON.parse(text)).toEqual({ found: expect.any(Boolean) });

/** Members of a request that an engine may refuse, and the parameter name that the refusal must give. */
const OPTIONAL: readonly (readonly [claim: keyof Claims, request: Partial<Chat>, param: string | undefined])[] = [
  ["stop", { stop: ["never"] }, "stop"],
  ["tools", { tools: TOOLS, toolChoice: "required" }, "tools"],
  ["responseFormat", { responseFormat: { type: "json_schema", schema: SCHEMA } }, "response_format"],
  ["logprobs", { topLogprobs: 1 }, "logprobs"],
  ["topK", { topK: 1 }, "top_k"],
  ["countTokens", { countTokens: true }, undefined],
];

/** Every promise of `worker-agent/engine/engine.ts` as a test. */
export const CASES: readonly ConformanceCase[] = [
  {
    promise: "lists its models, with slots, a context and the kinds that it claims",
    async run({ engine, claims, offer }) {
      const names = engine.models().map(({ name }) => name);
      expect(new Set(names).size).toBe(names.length);
      expect(offer.slots).toBeGreaterThan(0);
      expect(offer.contextTokens).toBeGreaterThan(0);
      expect(offer.sha256 ?? "0".repeat(64)).toMatch(/^[0-9a-f]{64}$/);
      const kinds = ["chat", ...(claims.completion ? ["completion"] : []), ...(claims.embedding ? ["embedding"] : [])];
      expect([...offer.kinds].sort()).toEqual(kinds.sort());
      if (claims.embedding) expect(engine.embed).toBeTypeOf("function");
    },
  },
  {
    promise: "streams a chat: accepted, text, then one end with the usage",
    async run(subject) {
      const before = subject.counters?.values.tokensGenerated ?? 0;
      const { text, tokens, calls, end } = answerOf(await run(subject, chat(subject)));
      expect(text).not.toBe("");
      expect(tokens).toBeGreaterThan(0);
      expect(calls).toEqual([]);
      expect(end.usage.promptTokens).toBeGreaterThan(0);
      expect(end.usage.completionTokens).toBeGreaterThan(0);
      if (subject.counters !== undefined) {
        expect(subject.counters.values.tokensGenerated - before).toBe(end.usage.completionTokens);
      }
      await expectIdle(subject);
    },
  },
  {
    promise: "runs a completion",
    applies: ({ completion }) => completion,
    async run(subject) {
      const request = { prompt: "Ligand is", stream: true, temperature: 0, maxTokens: 8 };
      const { text } = answerOf(await run(subject, { model: subject.offer.name, kind: "completion", request }));
      expect(text).not.toBe("");
    },
  },
  {
    promise: "ends with length at max_tokens, and never counts more",
    async run(subject) {
      for (const maxTokens of [1, 3]) {
        const { end } = answerOf(await run(subject, chat(subject, { maxTokens })));
        expect(end.finishReason).toBe("length");
        expect(end.usage.completionTokens).toBeGreaterThan(0);
        expect(end.usage.completionTokens).toBeLessThanOrEqual(maxTokens);
      }
    },
  },
  {
    promise: "cuts the answer before a stop sequence, and names the sequence if it knows it",
    applies: ({ stop }) => stop,
    async run(subject) {
      const complete = answerOf(await run(subject, chat(subject)));
      const stop = complete.text.slice(6, 12);
      const { text, end } = answerOf(await run(subject, chat(subject, { stop: ["never in it", stop] })));
      expect(text).not.toContain(stop);
      expect(complete.text.startsWith(text)).toBe(true);
      expect(end.finishReason).toBe("stop");
      expect([stop, undefined]).toContain(end.stopSequence);
    },
  },
  {
    promise: "refuses a model that it does not serve, by code",
    async run(subject) {
      const failure = failureOf(await run(subject, { ...chat(subject), model: "another model" }));
      expect(failure).toMatchObject({ code: "inference/model-not-found", retryable: true });
    },
  },
  {
    promise: "refuses a prompt that does not fit its context, by code",
    async run(subject) {
      const content = " pool".repeat(2 * subject.offer.contextTokens);
      const failure = failureOf(await run(subject, chat(subject, { messages: [{ role: "user", content }] })));
      expect(failure).toMatchObject({ code: "inference/context-length-exceeded", retryable: false });
      await expectIdle(subject);
    },
  },
  ...OPTIONAL.map(
    ([claim, request, param]): ConformanceCase => ({
      promise: `refuses a request with ${claim}, which it does not claim, by name`,
      applies: (claims) => !claims[claim],
      async run(subject) {
        const failure = failureOf(await run(subject, chat(subject, request)));
        expect(failure.code).toBe("http/unsupported-parameter");
        expect(failure.param).toBe(param);
        await expectIdle(subject);
      },
    }),
  ),
  {
    promise: "calls a required tool, and only the tool that is named, with arguments of its schema",
    applies: ({ tools }) => tools,
    async run(subject) {
      for (const toolChoice of ["required", { name: "forget" }] as const) {
        const request = { tools: TOOLS, toolChoice, parallelToolCalls: false, maxTokens: 150 } as const;
        const { calls, end } = answerOf(await run(subject, chat(subject, request)));
        expect(end.finishReason).toBe("tool_calls");
        expect(calls).toHaveLength(1);
        const names = toolChoice === "required" ? TOOLS.map(({ name }) => name) : [toolChoice.name];
        expect(names).toContain(calls[0]?.name);
        expect(calls[0]?.id).not.toBe("");
        isFound(calls[0]?.arguments ?? "");
      }
    },
  },
  {
    promise: "answers with JSON of the schema in the response format",
    applies: ({ responseFormat }) => responseFormat,
    async run(subject) {
      const responseFormat = { type: "json_schema", schema: SCHEMA } as const;
      const { text, end } = answerOf(await run(subject, chat(subject, { responseFormat, maxTokens: 150 })));
      expect(end.finishReason).toBe("stop");
      isFound(text);
    },
  },
  {
    promise: "gives a log probability for each token of the text",
    applies: ({ logprobs }) => logprobs,
    async run(subject) {
      const events = await run(subject, chat(subject, { topLogprobs: 2, maxTokens: 8 }));
      const { tokens } = answerOf(events);
      const logprobs = events.flatMap((event) => (event.type === "text" ? (event.logprobs ?? []) : []));
      expect(logprobs).toHaveLength(tokens);
      for (const { logprob, top } of logprobs) {
        expect(logprob).toBeLessThanOrEqual(0);
        expect(top).toHaveLength(2);
        // The answer is greedy, so each token is the likeliest one.
        expect(top[0]?.logprob).toBeCloseTo(logprob, 5);
      }
    },
  },
  {
    promise: "counts the tokens of a prompt and generates nothing",
    applies: ({ countTokens }) => countTokens,
    async run(subject) {
      const counted = answerOf(await run(subject, chat(subject, { countTokens: true })));
      expect(counted.text).toBe("");
      const { end } = answerOf(await run(subject, chat(subject, { maxTokens: 1 })));
      expect(counted.end.countedTokens).toBe(end.usage.promptTokens);
    },
  },
  {
    promise: "gives the same answer for the same seed, also beside other jobs",
    applies: ({ seed }) => seed,
    async run(subject) {
      // A question that the model was not taught, so that its answers vary.
      const messages: Chat["messages"] = [{ role: "user", content: "mauve zeppelin, or else?" }];
      const seeded = () => run(subject, chat(subject, { messages, temperature: 2, topP: 1, seed: 7 }));
      const alone = answerOf(await seeded());
      for (let times = 0; times < 3; times++) {
        const [beside] = await Promise.all([seeded(), run(subject, chat(subject))]);
        expect(answerOf(beside).text).toBe(alone.text);
      }
    },
  },
  {
    promise: "runs as many jobs at once as it has slots",
    async run(subject) {
      for (const events of await fillSlots(subject)) expect(answerOf(events).text).not.toBe("");
      await expectIdle(subject);
    },
  },
  {
    promise: "ends a job without a result after an abort, computes nothing more, and frees its slot",
    async run(subject) {
      // More jobs than slots: a slot that is not freed blocks the last ones.
      for (let times = 0; times <= subject.offer.slots; times++) {
        const abort = new AbortController();
        let eventsAfter = 0;
        const events = await run(subject, chat(subject), abort.signal, ({ type }) => {
          if (abort.signal.aborted) eventsAfter++;
          if (type === "text") abort.abort();
        });
        expect(events.map(({ type }) => type)).not.toContain("end");
        expect(events.map(({ type }) => type)).not.toContain("failed");
        expect(eventsAfter).toBeLessThanOrEqual(1);
        await expectIdle(subject);
      }
      const before = subject.counters?.values.tokensGenerated ?? 0;
      const { end } = answerOf(await run(subject, chat(subject)));
      if (subject.counters !== undefined) {
        expect(subject.counters.values.tokensGenerated - before).toBe(end.usage.completionTokens);
      }
    },
  },
  {
    promise: "gives no result to a job that is aborted before its start",
    async run(subject) {
      const types = (await run(subject, chat(subject), AbortSignal.abort())).map(({ type }) => type);
      expect(types.filter((type) => type !== "accepted")).toEqual([]);
      await expectIdle(subject);
    },
  },
  {
    promise: "stops when the consumer leaves the loop, and frees the slot",
    async run(subject) {
      for (let times = 0; times <= subject.offer.slots; times++) {
        const leave = async () => {
          for await (const { type } of subject.engine.generate(chat(subject), new AbortController().signal)) {
            if (type === "text") break;
          }
        };
        await within(subject, "leaving a job", leave());
        await expectIdle(subject);
      }
      await fillSlots(subject);
    },
  },
  {
    promise: "makes one vector of length 1 for each input, in order, and the same for the same text",
    applies: ({ embedding }) => embedding,
    async run(subject) {
      const texts = ["What is a pool?", "What is a worker?", "What is a pool?", "What is a lease?"];
      const events = await embed(subject, texts);
      expect(events.map(({ type }) => type)).toEqual(["accepted", ...texts.map(() => "vector"), "end"]);
      const vectors = vectorsOf(events);
      const [alone] = vectorsOf(await embed(subject, ["What is a worker?"]));
      const [first, second, third] = vectors;
      if (!first || !second || !third || !alone) return expect.fail("a vector is missing");
      for (const vector of vectors) {
        expect(vector).toHaveLength(first.length);
        expect(Math.hypot(...vector)).toBeCloseTo(1, 4);
      }
      expect(dot(first, third)).toBeCloseTo(1, 4);
      expect(dot(second, alone)).toBeCloseTo(1, 4);
      expect(dot(first, second)).toBeLessThan(0.9999);
      await expectIdle(subject);
    },
  },
  {
    promise: "refuses embeddings with other dimensions, and of another model, by name",
    applies: ({ embedding }) => embedding,
    async run(subject) {
      const failure = failureOf(await embed(subject, ["x"], 3));
      expect(failure).toMatchObject({ code: "http/unsupported-parameter", param: "dimensions" });
      const other = { ...subject, offer: { ...subject.offer, name: "another model" } };
      expect(failureOf(await embed(other, ["x"])).code).toBe("inference/model-not-found");
    },
  },
  {
    promise: "ends embeddings without a result after an abort",
    applies: ({ embedding }) => embedding,
    async run(subject) {
      const abort = new AbortController();
      const job = { model: subject.offer.name, request: { input: Array(12).fill("pool"), stream: false as const } };
      const read = async () => {
        const types: string[] = [];
        for await (const { type } of subject.engine.embed?.(job, abort.signal) ?? []) {
          types.push(type);
          if (type === "vector") abort.abort();
        }
        return types;
      };
      expect(await within(subject, "an embedding", read())).toEqual(["accepted", "vector"]);
      await expectIdle(subject);
    },
  },
  {
    promise: "closes during generation: jobs end without a result, and nothing computes afterwards",
    async run(subject, open) {
      const opened = await open();
      const own = { ...subject, ...opened };
      let closing: Promise<void> | undefined;
      const jobs = Array.from({ length: 2 }, () =>
        run(own, chat(own), undefined, ({ type }) => {
          if (type === "text") closing ??= opened.engine.dispose();
        }),
      );
      for (const events of await Promise.all(jobs)) {
        expect(events.map(({ type }) => type)).not.toContain("end");
        expect(events.map(({ type }) => type)).not.toContain("failed");
      }
      await within(own, "closing the engine", closing ?? expect.fail("no job produced text"));
      await expectIdle(own);
      await opened.close();
    },
  },
];

/** Runs one case against an engine that is open. */
export function runCase(
  { promise, run: check }: ConformanceCase,
  opened: OpenedEngine,
  { claims, open, patienceMs = 60_000 }: EngineUnderTest,
): Promise<void> {
  const [offer = expect.fail(`no model, so no test that it ${promise}`)] = opened.engine.models();
  return check({ ...opened, claims, offer, patienceMs }, open);
}

/** Declares the conformance tests of an engine. A new engine needs a factory and its claims. */
export function describeEngine(name: string, subject: EngineUnderTest): void {
  describe(name, () => {
    let opened: OpenedEngine;
    beforeAll(async () => {
      opened = await subject.open();
    });
    afterAll(async () => {
      await opened.engine.dispose();
      await opened.close();
    });
    for (const conformance of CASES.filter(({ applies }) => applies?.(subject.claims) ?? true)) {
      it(conformance.promise, () => runCase(conformance, opened, subject));
    }
  });
}
