import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TokenLogprob } from "../../schema/wire/worker-frames.ts";
import type { GenerationEvent, GenerationJob } from "../../worker-agent/engine/engine.ts";
import { answer, chat, completion, type LoadedModel, loadEmbedded } from "./loaded-model.ts";

let model: LoadedModel;
beforeAll(async () => {
  model = await loadEmbedded();
});
afterAll(() => model.engine.dispose());

async function eventsOf(job: GenerationJob): Promise<GenerationEvent[]> {
  return Array.fromAsync(model.engine.generate(job, new AbortController().signal));
}
async function measured(job: GenerationJob) {
  const events = await eventsOf(job);
  const texts = events.flatMap((event) => (event.type === "text" ? [event] : []));
  return {
    text: texts.map(({ text }) => text).join(""),
    tokens: texts.reduce((sum, event) => sum + event.tokens, 0),
    logprobs: texts.flatMap(({ logprobs = [] }): readonly TokenLogprob[] => logprobs),
    last: events.at(-1),
  };
}
const greedy = { temperature: 0, maxTokens: 30 };
const hot = { temperature: 1.5, topP: 1, maxTokens: 30 };

describe("log probabilities of an answer", () => {
  it("belong to its tokens, in order, and do not change the answer", async () => {
    const { text, tokens, logprobs, last } = await measured(chat("What is a pool?", { ...greedy, topLogprobs: 5 }));
    expect(text).toBe((await answer(model.engine, chat("What is a pool?", greedy))).text);
    expect(logprobs).toHaveLength(tokens);
    expect(
      logprobs
        .map(({ token }) => token)
        .join("")
        .trimStart(),
    ).toBe(text);
    expect(last).toMatchObject({ type: "end", usage: { completionTokens: tokens } });
  });

  it.each([
    ["greedy", { ...greedy }],
    ["hot", { ...hot, seed: 3 }],
  ])("are probabilities: %s", async (what, sampling) => {
    const { logprobs } = await measured(completion("A pool is", { ...sampling, topLogprobs: 20 }));
    expect(logprobs.length).toBeGreaterThan(5);
    for (const { token, logprob, top } of logprobs) {
      expect(top).toHaveLength(20);
      expect(top.map((one) => one.logprob)).toEqual(top.map((one) => one.logprob).toSorted((a, b) => b - a));
      const mass = top.reduce((sum, one) => sum + Math.exp(one.logprob), 0);
      expect(mass).toBeGreaterThan(0);
      expect(mass).toBeLessThanOrEqual(1.001);
      expect(logprob).toBeLessThanOrEqual(0);
      const listed = top.filter((one) => one.token === token);
      if (listed.length > 0) expect(listed.map((one) => one.logprob)).toContain(logprob);
      if (what === "greedy") expect(top[0]).toEqual({ token, logprob });
    }
  });

  it("are the model's own at any temperature", async () => {
    const first = async (sampling: object) =>
      (await measured(completion("A pool is", { ...sampling, topLogprobs: 3, maxTokens: 1 }))).logprobs[0]?.top;
    const cold = await first({ temperature: 0 });
    expect(cold).toHaveLength(3);
    expect(await first({ temperature: 2, topP: 0.1 })).toEqual(cold);
  });

  it("are the same for the same seed", async () => {
    const job = completion("A pool is", { ...hot, seed: 11, topLogprobs: 2 });
    expect(await measured(job)).toEqual(await measured(job));
  });

  it("may be of the chosen token only", async () => {
    const { logprobs } = await measured(completion("A pool is", { ...greedy, topLogprobs: 0 }));
    expect(logprobs.length).toBeGreaterThan(0);
    for (const { top } of logprobs) expect(top).toEqual([]);
  });

  it("do not cover text that a stop sequence cut", async () => {
    const whole = await measured(chat("What is a pool?", { ...greedy, topLogprobs: 0 }));
    const stop = whole.text.split(" ")[3] ?? expect.fail(`no words: ${whole.text}`);
    const { text, tokens, logprobs } = await measured(
      chat("What is a pool?", { ...greedy, topLogprobs: 0, stop: [stop] }),
    );
    expect(text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
    expect(logprobs).toHaveLength(tokens);
    expect(logprobs).toEqual(whole.logprobs.slice(0, logprobs.length));
  });

  it("are sent only on request", async () => {
    const events = await eventsOf(chat("What is a pool?", greedy));
    expect(events.filter((event) => "logprobs" in event)).toEqual([]);
  });
});

describe("a count", () => {
  it("has the prompt's tokens, and nothing is generated", async () => {
    const { promptTokens } = await answer(model.engine, chat("What is a pool?"));
    const before = { ...model.counters.values };
    const events = await eventsOf(chat("What is a pool?", { countTokens: true }));
    const usage = { promptTokens: 0, completionTokens: 0 };
    expect(events).toEqual([
      { type: "accepted", promptTokens },
      { type: "end", finishReason: "stop", usage, countedTokens: promptTokens },
    ]);
    expect({ ...model.counters.values }).toEqual(before);
  });

  it("works for a prompt that does not fit the context, and is refused for a prompt that is too long to count", async () => {
    const [offer] = model.engine.models();
    const events = await eventsOf(chat("pool ".repeat(5_000), { countTokens: true }));
    const end = events.at(-1);
    expect(end?.type === "end" && (end.countedTokens ?? 0) > (offer?.contextTokens ?? Number.POSITIVE_INFINITY)).toBe(
      true,
    );
    expect(await eventsOf(chat("pool ".repeat(60_000), { countTokens: true }))).toMatchObject([
      { type: "failed", code: "inference/context-length-exceeded" },
    ]);
  });
});
