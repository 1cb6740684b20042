import OpenAI, { InternalServerError } from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { describe, expect, it } from "vitest";
import {
  Everything,
  Formats,
  findPool,
  limitedKey,
  MODEL,
  QUESTION,
  Region,
  type Served,
  SIX_HUNDRED,
} from "./shared.ts";

/** The official client. `openai.test.ts` and `openai-tools.test.ts` have its other cases. */
export function openaiCases(served: () => Served): void {
  const client = (options: { apiKey?: string; fetch?: typeof fetch; maxRetries?: number } = {}) =>
    new OpenAI({ baseURL: served().baseURL, apiKey: served().apiKey, maxRetries: 0, ...options });
  const ask = (content: string) => ({ model: MODEL, messages: [{ role: "user" as const, content }] });

  describe("the official client", () => {
    it("runs a tool twice by itself, and continues with the whole history", async () => {
      const calls: unknown[] = [];
      const find = zodFunction({
        name: "find_pool",
        parameters: Region,
        function: findPool(calls),
        description: "Finds a pool.",
      });
      const request = { ...ask("Which pool is near?"), tools: [find], max_tokens: 200 };
      const runner = client().chat.completions.runTools(
        { ...request, tool_choice: "required" },
        { maxChatCompletions: 2 },
      );
      await runner.done();
      expect(calls.length).toBeGreaterThanOrEqual(2);
      for (const region of calls) expect(["eu", "us"]).toContain(region);
      const answer = await client().chat.completions.create({ ...ask(""), messages: runner.messages, max_tokens: 60 });
      expect(answer.choices[0]?.message.content?.length).toBeGreaterThan(0);
    });

    it("streams calls, and returns them as it assembled them", async () => {
      const tools = [zodFunction({ name: "find_pool", parameters: Region })];
      const request = { ...ask("Which pool?"), tools, max_tokens: 200 };
      const stream = client().chat.completions.stream({ ...request, tool_choice: "required" });
      const { message } = (await stream.finalChatCompletion()).choices[0] ?? expect.fail("no choice");
      const results = (message.tool_calls ?? []).map(({ id }) => ({
        role: "tool" as const,
        tool_call_id: id,
        content: "Alder",
      }));
      const messages = [...request.messages, message, ...results];
      const next = await client().chat.completions.create({ ...request, messages, tool_choice: "none" });
      expect(next.choices[0]?.finish_reason).toMatch(/stop|length/);
    });

    it("parses with a zod schema, and sends back what it parsed", async () => {
      const request = {
        ...ask(QUESTION),
        response_format: zodResponseFormat(Everything, "everything"),
        max_tokens: 300,
      };
      const first = await client().chat.completions.parse(request);
      const message = first.choices[0]?.message ?? expect.fail("no choice");
      expect(Everything.safeParse(message.parsed)).toMatchObject({ success: true });
      const messages = [...request.messages, message, { role: "user" as const, content: "Again." }];
      const second = await client().chat.completions.parse({ ...request, messages });
      expect(Everything.safeParse(second.choices[0]?.message.parsed)).toMatchObject({ success: true });
    });

    it("sends zod's formats, records and tuples", async () => {
      const { json_schema } = zodResponseFormat(Everything, "formats");
      const schema = (await import("zod")).toJSONSchema(Formats);
      const format = { type: "json_schema" as const, json_schema: { ...json_schema, strict: false, schema } };
      const sent = await client().chat.completions.create({ ...ask(QUESTION), response_format: format, max_tokens: 8 });
      expect(sent.choices[0]).toMatchObject({
        finish_reason: "length",
        message: { content: expect.stringMatching(/^\{/) },
      });
    });

    it("embeds 600 inputs", async () => {
      const { data, usage } = await client().embeddings.create({ model: MODEL, input: SIX_HUNDRED });
      expect(data.map(({ index, embedding }) => [index, embedding.length])).toEqual(
        SIX_HUNDRED.map((_, i) => [i, 256]),
      );
      expect(usage.prompt_tokens).toBeGreaterThan(600);
    });

    it("has an error class for a model that no worker serves now", async () => {
      const gone = client().chat.completions.create({ ...ask("x"), model: served().goneModel });
      await expect(gone).rejects.toBeInstanceOf(InternalServerError);
      await expect(gone).rejects.toMatchObject({ status: 503, code: "no_worker" });
    });

    it("repeats a request after a 429, when its key has room", async () => {
      const { apiKey, fetch, statuses } = await limitedKey(served());
      const { choices } = await client({ apiKey, fetch, maxRetries: 1 }).chat.completions.create({
        ...ask("Hello"),
        max_tokens: 5,
      });
      expect(choices[0]?.message.content?.length).toBeGreaterThan(0);
      expect(statuses).toEqual([429, 200]);
    });
  });
}
