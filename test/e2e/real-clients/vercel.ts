import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateText, isStepCount, type LanguageModel, Output, streamText, tool } from "ai";
import { describe, expect, it } from "vitest";
import {
  Everything,
  Formats,
  findPool,
  limitedKey,
  MODEL,
  QUESTION,
  Region,
  SENTENCE,
  type Served,
  SIX_HUNDRED,
} from "./shared.ts";

type Options = { apiKey?: string; fetch?: typeof fetch };

/**
 * Vercel's AI SDK. Its default provider uses /v1/responses; `.chat()` and the compatible provider use
 * /v1/chat/completions.
 */
export function vercelCases(served: () => Served): void {
  const openai = (options: Options = {}) =>
    createOpenAI({ baseURL: served().baseURL, apiKey: served().apiKey, ...options });
  const compatible = (options: Options = {}) =>
    createOpenAICompatible({
      name: "ligand",
      baseURL: served().baseURL,
      apiKey: served().apiKey,
      includeUsage: true,
      supportsStructuredOutputs: true,
      ...options,
    });
  const chat = (model = MODEL, options?: Options) => openai(options).chat(model);
  /** The pool keeps no answers, so a conversation must not refer to stored ones. */
  const unstored = { openai: { store: false } };

  describe.each<[what: string, model: (name?: string, options?: Options) => LanguageModel, providerOptions: object]>([
    ["Vercel's openai.chat()", chat, {}],
    ["Vercel's openai-compatible", (model = MODEL, options) => compatible(options)(model), {}],
    ["Vercel's openai()", (model = MODEL, options) => openai(options)(model), unstored],
  ])("%s", (_what, model, options) => {
    const providerOptions = options as typeof unstored;

    it("generates text, and continues the conversation", async () => {
      const first = await generateText({ model: model(), prompt: QUESTION, temperature: 0, providerOptions });
      expect(first.text).toMatch(SENTENCE);
      expect(first.finishReason).toBe("stop");
      expect(first.usage.outputTokens).toBeGreaterThan(3);
      const messages = [
        { role: "user" as const, content: QUESTION },
        ...first.response.messages,
        { role: "user" as const, content: "And what is a worker?" },
      ];
      const second = await generateText({ model: model(), messages, providerOptions });
      expect(second.usage.inputTokens).toBeGreaterThan(first.usage.inputTokens ?? Number.POSITIVE_INFINITY);
    });

    it("streams text, with usage", async () => {
      const streamed = streamText({ model: model(), prompt: QUESTION, temperature: 0, providerOptions });
      const pieces = await Array.fromAsync(streamed.textStream);
      expect(pieces.length).toBeGreaterThan(1);
      expect(pieces.join("")).toMatch(SENTENCE);
      expect(await streamed.finishReason).toBe("stop");
      expect((await streamed.usage).outputTokens).toBeGreaterThan(3);
    });

    it("runs a tool twice and then answers", async () => {
      const calls: unknown[] = [];
      const { steps, text } = await generateText({
        model: model(),
        prompt: "Which pool is near?",
        tools: { find_pool: tool({ description: "Finds a pool.", inputSchema: Region, execute: findPool(calls) }) },
        prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber < 2 ? "required" : "none" }),
        stopWhen: isStepCount(3),
        maxOutputTokens: 200,
        providerOptions,
      });
      expect(steps.map(({ finishReason }) => finishReason).slice(0, 2)).toEqual(["tool-calls", "tool-calls"]);
      expect(steps).toHaveLength(3);
      expect(calls.length).toBeGreaterThanOrEqual(2);
      for (const region of calls) expect(["eu", "us"]).toContain(region);
      expect(text.length).toBeGreaterThan(0);
    });

    it("parses an answer with a zod schema", async () => {
      const request = { model: model(), prompt: QUESTION, maxOutputTokens: 300, providerOptions };
      const whole = await generateText({ ...request, output: Output.object({ schema: Everything }) });
      expect(Everything.safeParse(whole.output)).toMatchObject({ success: true });
    });

    it("sends zod's formats, records and tuples, in a format and in a tool", async () => {
      // By default Vercel sets `strict`, which refuses every keyword that the grammar does not enforce.
      const lenient = { strictJsonSchema: false };
      const request = {
        model: model(),
        prompt: QUESTION,
        maxOutputTokens: 8,
        providerOptions: { openai: { ...providerOptions.openai, ...lenient }, ligand: lenient },
      };
      // A model of this size never ends a URL. So the test checks that the schema is accepted and that the answer
      // begins.
      const cut = generateText({ ...request, output: Output.object({ schema: Formats }) });
      await expect(cut).rejects.toMatchObject({ text: expect.stringMatching(/^\{/), finishReason: "length" });
      const note = tool({ description: "Notes a contact.", inputSchema: Formats, execute: () => "noted" });
      const spoken = await generateText({ ...request, tools: { note }, toolChoice: "none" });
      expect(spoken.text.length).toBeGreaterThan(0);
      const called = await generateText({ ...request, tools: { note }, toolChoice: "auto" });
      expect(called.usage.outputTokens).toBeGreaterThan(0);
    });

    it("raises the right error class for each failure", async () => {
      const asked = (name?: string, more: Options = {}, extra: object = {}) =>
        generateText({ model: model(name, more), prompt: "x", maxRetries: 0, providerOptions, ...extra });
      const tooLong = asked(MODEL, {}, { prompt: "pool ".repeat(5_000) });
      await expect(tooLong).rejects.toMatchObject({ statusCode: 400, isRetryable: false });
      await expect(tooLong).rejects.toBeInstanceOf(APICallError);
      await expect(asked(MODEL, { apiKey: "lk_forged" })).rejects.toMatchObject({
        statusCode: 401,
        isRetryable: false,
      });
      await expect(asked("no-such-model")).rejects.toMatchObject({ statusCode: 404, isRetryable: false });
      await expect(asked(served().goneModel)).rejects.toMatchObject({ statusCode: 503, isRetryable: true });
    });

    it("repeats a request after a 429, when its key has room", async () => {
      const { apiKey, fetch, statuses } = await limitedKey(served());
      const { text } = await generateText({
        model: model(MODEL, { apiKey, fetch }),
        prompt: "Hello",
        maxOutputTokens: 5,
        maxRetries: 1,
        providerOptions,
      });
      expect(text.length).toBeGreaterThan(0);
      expect(statuses).toEqual([429, 200]);
    });
  });

  describe("Vercel's embeddings", () => {
    it.each<[string, () => Parameters<typeof embedMany>[0]["model"]]>([
      ["openai", () => openai().embedding(MODEL)],
      ["openai-compatible", () => compatible().embeddingModel(MODEL)],
    ])("%s embeds 600 inputs", async (_what, model) => {
      const { embeddings, usage } = await embedMany({ model: model(), values: SIX_HUNDRED });
      expect(embeddings.map(({ length }) => length)).toEqual(Array(600).fill(256));
      expect(usage.tokens).toBeGreaterThan(600);
    });
  });
}
