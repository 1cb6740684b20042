import Anthropic from "@anthropic-ai/sdk";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { findPool, limitedKey, MODEL, QUESTION, Region, SENTENCE, type Served } from "./shared.ts";

/** Anthropic's own client at /v1/messages; `dialects.test.ts` has more of it. */
export function anthropicCases(served: () => Served): void {
  const client = (options: ConstructorParameters<typeof Anthropic>[0] = {}) =>
    new Anthropic({ baseURL: served().pool.url, apiKey: served().apiKey, maxRetries: 0, ...options });
  const ask = (content: string) => ({ model: MODEL, max_tokens: 200, messages: [{ role: "user" as const, content }] });
  const textOf = ({ content }: Anthropic.Message) =>
    content.map((block) => (block.type === "text" ? block.text : "")).join("");

  describe("Anthropic's client", () => {
    it("chats and streams", async () => {
      expect(textOf(await client().messages.create(ask(QUESTION)))).toMatch(SENTENCE);
      const stream = client().messages.stream(ask(QUESTION));
      expect(textOf(await stream.finalMessage())).toMatch(SENTENCE);
    });

    it("runs a tool twice and then speaks", async () => {
      const calls: unknown[] = [];
      const run = findPool(calls);
      const input_schema = z.toJSONSchema(Region) as Anthropic.Tool.InputSchema;
      const tools = [{ name: "find_pool", description: "Finds a pool.", input_schema }];
      const messages: Anthropic.MessageParam[] = [{ role: "user", content: "Which pool is near?" }];
      for (const type of ["any", "any", "none"] as const) {
        const message = await client().messages.create({ ...ask(""), messages, tools, tool_choice: { type } });
        expect(message.stop_reason === "tool_use").toBe(type === "any");
        const results = message.content.flatMap((block) =>
          block.type === "tool_use"
            ? [
                {
                  type: "tool_result" as const,
                  tool_use_id: block.id,
                  content: JSON.stringify(run(Region.parse(block.input))),
                },
              ]
            : [],
        );
        messages.push({ role: "assistant", content: message.content });
        if (results.length > 0) messages.push({ role: "user", content: results });
        else expect(textOf(message).length).toBeGreaterThan(0);
      }
      expect(calls.length).toBeGreaterThanOrEqual(2);
    });

    it("gets an answer that obeys a schema", async () => {
      const format = { type: "json_schema" as const, schema: z.toJSONSchema(Region) };
      const message = await client().messages.create({ ...ask(QUESTION), output_config: { format } });
      expect(Region.safeParse(JSON.parse(textOf(message)))).toMatchObject({ success: true });
    });

    it("has a class for each error", async () => {
      const forged = client({ apiKey: "lk_forged" }).messages.create(ask("x"));
      await expect(forged).rejects.toBeInstanceOf(Anthropic.AuthenticationError);
      const unknown = client().messages.create({ ...ask("x"), model: "no-such-model" });
      await expect(unknown).rejects.toBeInstanceOf(Anthropic.NotFoundError);
      const tooLong = client().messages.create(ask("pool ".repeat(5_000)));
      await expect(tooLong).rejects.toMatchObject({ status: 400, errorCode: "context_length_exceeded" });
      const gone = client().messages.create({ ...ask("x"), model: served().goneModel });
      await expect(gone).rejects.toMatchObject({ status: 503, type: "overloaded_error", errorCode: "no_worker" });
    });

    it("asks again when its key may, after a 429", async () => {
      const { apiKey, fetch, statuses } = await limitedKey(served());
      const message = await client({ apiKey, fetch, maxRetries: 1 }).messages.create({
        ...ask("Hello"),
        max_tokens: 5,
      });
      expect(textOf(message).length).toBeGreaterThan(0);
      expect(statuses).toEqual([429, 200]);
    });
  });
}
