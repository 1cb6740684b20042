import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GenerationJob } from "../../worker-agent/engine/engine.ts";
import { loadLlamaEngine } from "../../worker-agent/engine/llama/llama-engine.ts";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { type Answer, answer, chat, completion, type LoadedModel, loadEmbedded } from "./loaded-model.ts";

let model: LoadedModel;
let contextTokens: number;

beforeAll(async () => {
  model = await loadEmbedded();
  contextTokens = model.engine.models()[0]?.contextTokens ?? 0;
});
afterAll(() => model.engine.dispose());

/** So high a temperature that the small model seldom ends an answer by itself. */
const RAMBLING = { temperature: 2, topP: 1 } as const;

const rambling = (tokens: number, seed?: number) =>
  completion("Ligand", { ...RAMBLING, maxTokens: tokens, ...(seed === undefined ? {} : { seed }) });

/** Runs the job with one seed after another until the answer is usable, because the model may end an answer early. */
async function firstAnswer(job: (seed: number) => GenerationJob, fits: (answer: Answer) => boolean) {
  for (let seed = 0; seed < 50; seed++) {
    const found = await answer(model.engine, job(seed));
    if (fits(found)) return { ...found, seed };
  }
  throw new Error("no seed gives such an answer");
}

const endedWithLength = ({ last }: Answer) => last?.type === "end" && last.finishReason === "length";

/** A prompt with exactly this number of tokens. */
async function promptOf(tokens: number): Promise<string> {
  const words = " pool".repeat(tokens);
  const { promptTokens } = await answer(model.engine, completion(" pool".repeat(8), { maxTokens: 1 }));
  const { promptTokens: more } = await answer(model.engine, completion(" pool".repeat(9), { maxTokens: 1 }));
  expect(more - promptTokens).toBe(1);
  return words.slice(0, " pool".length * (tokens - (promptTokens - 8)));
}

describe("an answer", () => {
  it("is counted: text events and usage agree, and never exceed the bytes", async () => {
    const { text, tokens, promptTokens, last } = await answer(model.engine, chat("What is Ligand?"));
    expect(text).not.toBe("");
    expect(last).toEqual({ type: "end", finishReason: "stop", usage: { promptTokens, completionTokens: tokens } });
    expect(tokens).toBeGreaterThan(0);
    expect(tokens).toBeLessThanOrEqual(Buffer.byteLength(text));
  });

  it("depends on the whole conversation", async () => {
    const short = await answer(model.engine, chat("Hello"));
    const messages = [
      { role: "system", content: "You are brief." },
      { role: "user", content: "Hello" },
      { role: "assistant", content: "Hello." },
      { role: "user", content: "Hello" },
    ] as const;
    const long = await answer(model.engine, chat("", { messages: [...messages] }));
    expect(long.promptTokens).toBeGreaterThan(2 * short.promptTokens);
    expect(long.last).toMatchObject({ type: "end" });
  });

  it("ends with length at max_tokens", async () => {
    const { tokens } = await firstAnswer((seed) => rambling(5, seed), endedWithLength);
    expect(tokens).toBeLessThanOrEqual(5);
    expect(tokens).toBeGreaterThan(0);
  });

  it("contains no half characters at any temperature", async () => {
    for (let seed = 0; seed < 8; seed++) {
      const prompt = chat("Schreibe 漢字, émigré und 😀👩‍👩‍👧 auf!", { ...RAMBLING, seed, maxTokens: 40 });
      const { text, tokens } = await answer(model.engine, prompt);
      expect(text).not.toContain("\uFFFD");
      expect(text.isWellFormed()).toBe(true);
      expect(tokens).toBeLessThanOrEqual(Buffer.byteLength(text));
    }
  });

  it("from another model is refused", async () => {
    const { last } = await answer(model.engine, { ...chat("?"), model: "other" });
    expect(last).toMatchObject({ type: "failed", code: "inference/model-not-found" });
  });
});

describe("a stop sequence", () => {
  it("ends the answer before it, even in the middle of tokens", async () => {
    const long = ({ text }: Answer) => text.length > 30;
    const { text: whole, seed } = await firstAnswer((one) => rambling(60, one), long);
    for (const at of [0, 7, 20]) {
      const stop = whole.slice(at, at + 5);
      const { text, tokens, last } = await answer(
        model.engine,
        completion("Ligand", { ...RAMBLING, seed, maxTokens: 60, stop: ["never in it", stop] }),
      );
      expect(text).toBe(whole.slice(0, whole.indexOf(stop)));
      if (last?.type !== "end") throw new Error(JSON.stringify(last));
      expect(last.finishReason).toBe("stop");
      // The stop sequence was generated too, but is not sent.
      expect(last.usage.completionTokens).toBeGreaterThan(tokens);
      expect(last.usage.completionTokens).toBeLessThanOrEqual(tokens + stop.length);
      expect(tokens).toBeLessThanOrEqual(Buffer.byteLength(text));
    }
  });
});

describe("the context", () => {
  it("accepts a prompt that leaves room for one token", async () => {
    const { promptTokens, last } = await answer(model.engine, completion(await promptOf(contextTokens - 1)));
    expect(promptTokens).toBe(contextTokens - 1);
    expect(last).toMatchObject({ type: "end" });
  });

  it.each([
    ["one token too long", 0],
    ["far too long", 100_000],
  ])("refuses a prompt that is %s and gives its length", async (_what, over) => {
    const { last } = await answer(model.engine, completion(await promptOf(contextTokens + over)));
    expect(last).toMatchObject({ type: "failed", code: "inference/context-length-exceeded", retryable: false });
    expect(last).toHaveProperty("message", expect.stringContaining(String(contextTokens)));
  });

  it("refuses messages that the chat template cannot write, with a separate code", async () => {
    const nested = `${'{"a":'.repeat(5_000)}1${"}".repeat(5_000)}`;
    const toolCalls = [{ id: "1", name: "f", arguments: nested }];
    const job = chat("", {
      messages: [
        { role: "user", content: "Hello" },
        { role: "assistant", content: "", toolCalls },
        { role: "tool", content: "1", toolCallId: "1" },
      ],
      tools: [{ name: "f" }],
    });
    const { last } = await answer(model.engine, job);
    expect(last).toMatchObject({ type: "failed", code: "inference/prompt-refused", retryable: false });
  });

  it("ends an answer without max_tokens: no token is shifted out", async () => {
    const prompt = await promptOf(contextTokens - 20);
    const job = (seed: number) => completion(prompt, { ...RAMBLING, seed });
    const { promptTokens, tokens } = await firstAnswer(job, endedWithLength);
    expect(promptTokens + tokens).toBeLessThanOrEqual(contextTokens);
    expect(tokens).toBeGreaterThan(10);
  });
});

describe("concurrent jobs", () => {
  it("are as many as there are slots, and the next job waits", async () => {
    let most = 0;
    const watch = () => {
      most = Math.max(most, model.counters.values.activeGenerations);
    };
    const jobs = Array.from({ length: 6 }, () => answer(model.engine, rambling(30), undefined, watch));
    const answers = await Promise.all(jobs);
    expect(most).toBe(4);
    for (const { last } of answers) expect(last).toMatchObject({ type: "end" });
    expect(model.counters.values.activeGenerations).toBe(0);
  });

  it("do not affect each other", async () => {
    const greedy = (content: string) => chat(content, { temperature: 0, maxTokens: 40 });
    const questions = ["What is a lease?", "What is a pool?", "What is a worker?", "What is Ligand?"];
    const alone: string[] = [];
    for (const question of questions) alone.push((await answer(model.engine, greedy(question))).text);
    const together = await Promise.all(questions.map((question) => answer(model.engine, greedy(question))));
    // Batching may change a rounding and so some words, but not the subject of the answer.
    const first = (text: string) => text.slice(0, 12);
    expect(together.map(({ text }) => first(text))).toEqual(alone.map(first));
  });
});

describe("a conversation", () => {
  const evaluatedBy = async (job: GenerationJob) => {
    const before = model.counters.values.promptTokensEvaluated;
    const { promptTokens, last } = await answer(model.engine, job);
    expect(last).toMatchObject({ type: "end", usage: { promptTokens } });
    return { promptTokens, evaluated: model.counters.values.promptTokensEvaluated - before };
  };
  const about = "What is a lease, and why does it carry a fencing number? ".repeat(4);

  it("is not evaluated again from its beginning", async () => {
    await evaluatedBy(chat(about, { maxTokens: 1 }));
    const again = await evaluatedBy(chat(about, { maxTokens: 1 }));
    expect(again.evaluated).toBe(1);
    expect(again.promptTokens).toBeGreaterThan(20);
  });

  it("is evaluated completely for a job with a seed", async () => {
    for (let times = 0; times < 2; times++) {
      const { promptTokens, evaluated } = await evaluatedBy(chat(about, { maxTokens: 1, seed: 1 }));
      expect(evaluated).toBe(promptTokens);
    }
  });
});

describe("a seed", () => {
  const seeded = (seed: number) => chat("Tell me about workers.", { seed, temperature: 2, maxTokens: 50 });

  it("gives the same answer again, during and after other jobs", async () => {
    const alone = await answer(model.engine, seeded(42));
    const others = Promise.all([1, 2, 3].map(() => answer(model.engine, rambling(80))));
    const busy = await answer(model.engine, seeded(42));
    await answer(model.engine, seeded(1));
    await others;
    const later = await answer(model.engine, seeded(42));
    expect([busy.text, later.text]).toEqual([alone.text, alone.text]);
  });

  it("has its own context: one such job at a time, in addition to all slots", async () => {
    let most = 0;
    const watch = () => {
      most = Math.max(most, model.counters.values.activeGenerations);
    };
    const run = (job: GenerationJob) => answer(model.engine, job, undefined, watch);
    await Promise.all([seeded(1), seeded(2), seeded(3)].map(run));
    expect(most).toBe(1);
    await Promise.all([rambling(30), rambling(30), rambling(30), rambling(30), seeded(1), seeded(2)].map(run));
    expect(most).toBe(5);
  });

  it("decides the answer", async () => {
    const texts = new Set<string>();
    for (const seed of [0, 1, -1, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
      // A question that the model was not taught, so that its answers vary.
      const job = chat("mauve zeppelin, or else?", { seed, temperature: 2, maxTokens: 50 });
      texts.add((await answer(model.engine, job)).text);
    }
    expect(texts.size).toBeGreaterThan(1);
  });
});

describe("an abort", () => {
  it("stops the token loop at the next token", async () => {
    const abort = new AbortController();
    let after = 0;
    const { last } = await answer(model.engine, rambling(900), abort.signal, () => {
      abort.abort();
      after = model.counters.values.tokensGenerated;
    });
    expect(last).toMatchObject({ type: "text" });
    expect(model.counters.values).toMatchObject({ activeGenerations: 0, tokensGenerated: after });
    // The sequence is free and usable again.
    expect((await answer(model.engine, chat("Hello"))).last).toMatchObject({ type: "end" });
    expect(model.counters.values.tokensGenerated).toBeGreaterThan(after);
  });

  it("stops the token loop also while text is held back", async () => {
    const { text, seed } = await firstAnswer((one) => rambling(100, one), endedWithLength);
    const abort = new AbortController();
    const before = model.counters.values.tokensGenerated;
    const job = completion("Ligand", { ...RAMBLING, seed, maxTokens: 100, stop: [`${text}, which never comes`] });
    const aborted = answer(model.engine, job, abort.signal);
    while (model.counters.values.tokensGenerated < before + 5) await new Promise(setImmediate);
    abort.abort();
    const { last } = await aborted;
    expect(last).toMatchObject({ type: "accepted" });
    expect(model.counters.values.tokensGenerated).toBeLessThan(before + 50);
  });

  it("stops the evaluation of a long prompt", async () => {
    const abort = new AbortController();
    const prompt = await promptOf(900);
    const before = model.counters.values;
    const events: string[] = [];
    for await (const { type } of model.engine.generate(completion(prompt), abort.signal)) {
      events.push(type);
      setImmediate(() => abort.abort());
    }
    expect(events).toEqual(["accepted"]);
    expect(model.counters.values.activeGenerations).toBe(0);
    expect(model.counters.values.tokensGenerated).toBe(before.tokensGenerated);
    expect(model.counters.values.promptTokensEvaluated - before.promptTokensEvaluated).toBeLessThan(450);
  });

  it("ends a job that waits for a slot", async () => {
    const blocking = Array.from({ length: 4 }, () => new AbortController());
    const running = blocking.map(({ signal }) => answer(model.engine, rambling(900), signal));
    const abort = new AbortController();
    const waiting = answer(model.engine, rambling(10), abort.signal);
    abort.abort();
    expect((await waiting).last).toMatchObject({ type: "accepted" });
    for (const one of blocking) one.abort();
    await Promise.all(running);
    expect(model.counters.values.activeGenerations).toBe(0);
  });
});

describe("loading", () => {
  const load = (path: string) =>
    loadLlamaEngine({
      file: { name: "broken", path, sha256: "0".repeat(64) },
      slots: 1,
      gpu: false,
      meter: model.counters,
      threads: async () => 1,
    });

  it("half a file fails with advice", async () => {
    const path = join(temporaryFolder(), "half.gguf");
    await writeFile(path, (await readFile(EMBEDDED_MODEL.path)).subarray(0, 200_000));
    const loaded = await load(path);
    expect(loaded).toMatchObject({ ok: false, message: expect.stringContaining("download the file again") });
  });

  it("measures threads on request", async () => {
    const rates: number[] = [];
    const { engine } = await loadEmbedded({
      slots: 1,
      contextTokens: 256,
      threads: async ({ measure }) => {
        rates.push(await measure(1));
        return 1;
      },
    });
    expect(rates[0]).toBeGreaterThan(0);
    expect(engine.models()[0]).toMatchObject({ slots: 1, contextTokens: 256 });
    await engine.dispose();
  });
});
