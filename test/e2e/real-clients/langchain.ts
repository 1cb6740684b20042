import { type BaseMessage, HumanMessage, type UsageMetadata } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, type ChatOpenAIFields, OpenAIEmbeddings } from "@langchain/openai";
import { describe, expect, it } from "vitest";
import {
  Everything,
  findPool,
  limitedKey,
  MODEL,
  QUESTION,
  Region,
  SENTENCE,
  type Served,
  SIX_HUNDRED,
} from "./shared.ts";

/** LangChain's OpenAI classes. */
export function langchainCases(served: () => Served): void {
  const chat = ({ configuration, ...fields }: ChatOpenAIFields = {}) =>
    new ChatOpenAI({
      model: MODEL,
      apiKey: served().apiKey,
      maxRetries: 0,
      ...fields,
      configuration: { baseURL: served().baseURL, ...configuration },
    });

  const usageOf = (message: BaseMessage) =>
    (message as { usage_metadata?: UsageMetadata }).usage_metadata ?? expect.fail("no usage");

  describe("LangChain", () => {
    it("gets an answer, and continues the conversation", async () => {
      const messages: BaseMessage[] = [new HumanMessage(QUESTION)];
      const first = await chat({ temperature: 0 }).invoke(messages);
      expect(first.text).toMatch(SENTENCE);
      messages.push(first, new HumanMessage("And what is a worker?"));
      const second = await chat().invoke(messages);
      expect(usageOf(second).input_tokens).toBeGreaterThan(usageOf(first).input_tokens);
    });

    it("streams, with usage", async () => {
      const chunks = await Array.fromAsync(await chat({ temperature: 0 }).stream(QUESTION));
      expect(chunks.length).toBeGreaterThan(2);
      const whole = chunks.slice(1).reduce((sum, chunk) => sum.concat(chunk), chunks[0] ?? expect.fail("no chunk"));
      expect(whole.text).toMatch(SENTENCE);
      expect(usageOf(whole).output_tokens).toBeGreaterThan(3);
    });

    it("returns the results of two calls and then answers", async () => {
      const calls: unknown[] = [];
      const find = tool(findPool(calls), { name: "find_pool", description: "Finds a pool.", schema: Region });
      const calling = chat({ maxTokens: 200 }).bindTools([find], { tool_choice: "required" });
      const messages: BaseMessage[] = [new HumanMessage("Which pool is near?")];
      for (let turn = 0; turn < 2; turn++) {
        const answer = await calling.invoke(messages);
        messages.push(answer);
        expect(answer.tool_calls?.length).toBeGreaterThan(0);
        for (const call of answer.tool_calls ?? []) messages.push(await find.invoke(call));
      }
      expect(calls.length).toBeGreaterThanOrEqual(2);
      for (const region of calls) expect(["eu", "us"]).toContain(region);
      const last = await chat({ maxTokens: 60 }).bindTools([find], { tool_choice: "none" }).invoke(messages);
      expect(last.text.length).toBeGreaterThan(0);
    });

    it.each(["jsonSchema", "functionCalling"] as const)("parses with a zod schema, by %s", async (method) => {
      const structured = chat({ maxTokens: 300 }).withStructuredOutput(Everything, { method, name: "everything" });
      expect(Everything.safeParse(await structured.invoke(QUESTION))).toMatchObject({ success: true });
    });

    it("embeds 600 documents", async () => {
      const embeddings = new OpenAIEmbeddings({
        model: MODEL,
        apiKey: served().apiKey,
        batchSize: 600,
        maxRetries: 0,
        configuration: { baseURL: served().baseURL },
      });
      const vectors = await embeddings.embedDocuments(SIX_HUNDRED);
      expect(vectors.map(({ length }) => length)).toEqual(Array(600).fill(256));
    });

    it("raises the right error class for each failure", async () => {
      await expect(chat().invoke("pool ".repeat(5_000))).rejects.toMatchObject({ status: 400 });
      await expect(chat({ apiKey: "lk_forged" }).invoke("x")).rejects.toMatchObject({ status: 401 });
      await expect(chat({ model: "no-such-model" }).invoke("x")).rejects.toMatchObject({ status: 404 });
      await expect(chat({ model: served().goneModel }).invoke("x")).rejects.toMatchObject({ status: 503 });
    });

    it("repeats a request after a 429, when its key has room", async () => {
      const { apiKey, fetch, statuses } = await limitedKey(served());
      const asked = chat({ apiKey, maxRetries: 1, maxTokens: 5, configuration: { fetch } });
      expect((await asked.invoke("Hello")).text.length).toBeGreaterThan(0);
      expect(statuses).toEqual([429, 200]);
    });
  });
}
