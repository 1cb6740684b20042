import Anthropic, { AuthenticationError, BadRequestError, InternalServerError, NotFoundError } from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { findPool, limitedKey, MODEL, QUESTION, Region, SENTENCE, type Served } from "./shared.ts";

/** Anthropic's client, which appends `/v1/messages` to its base URL. `dialects.test.ts` has more cases. */
export function anthropicCases(served: () => Served): void {
  const client = (options: { apiKey?: string; fetch?: typeof fetch; maxRetries?: number } = {}) =>
    new Anthropic({ baseURL: served().pool.url, apiKey: served().apiKey, maxRetries: 0, ...options });
  const ask = (content: string) => ({
    model: MODEL,
    max_tokens: 100,
    messages: [{ role: "user" as const, content }],
  });
  const textOf = ({ content }: Pick<Anthropic.Message, "content">) =>
    content.flatMap((block) => (block.type === "text" ? block.text : [])).join("");

  describe("Anthropic's client", () => {
    it("gets an answer, and continues the conversation", async () => {
      const first = await client().messages.create(ask(QUESTION));
      expect(textOf(first)).toMatch(SENTENCE);
      expect(first).toMatchObject({ role: "assistant", stop_reason: "end_turn" });
      expect(first.usage.output_tokens).toBeGreaterThan(3);
      const messages: Anthropic.MessageParam[] = [
        ...ask(QUESTION).messages,
        { role: "assistant", content: first.content },
        { role: "user", content: "And what is a worker?" },
      ];
      const second = await client().messages.create({ ...ask(""), messages, system: "Be brief." });
      expect(second.usage.input_tokens).toBeGreaterThan(first.usage.input_tokens);
    });

    it("streams, and assembles the same message", async () => {
      const stream = client().messages.stream(ask(QUESTION));
      const pieces: string[] = [];
      stream.on("text", (piece) => pieces.push(piece));
      const message = await stream.finalMessage();
      expect(pieces.length).toBeGreaterThan(1);
      expect(textOf(message)).toBe(pieces.join(""));
      expect(message.stop_reason).toBe("end_turn");
      expect(message.usage.output_tokens).toBeGreaterThan(3);
    });

    it("runs a tool twice and then answers", async () => {
      const calls: unknown[] = [];
      const run = findPool(calls);
      const input_schema = z.toJSONSchema(Region) as Anthropic.Tool.InputSchema;
      const tools = [{ name: "find_pool", description: "Finds a pool.", input_schema }];
      const messages: Anthropic.MessageParam[] = [{ role: "user", content: "Which pool is near?" }];
      for (const type of ["any", "any", "none"] as const) {
        const message = await client().messages.create({
          ...ask(""),
          max_tokens: 200,
          messages,
          tools,
          tool_choice: { type },
        });
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

    it("runs a tool twice by itself, without the thinking that it asks for first", async () => {
      const calls: unknown[] = [];
      const run = findPool(calls);
      const find = betaZodTool({
        name: "find_pool",
        description: "Finds a pool.",
        inputSchema: Region,
        run: (input) => JSON.stringify(run(input)),
      });
      const runner = client().beta.messages.toolRunner({
        ...ask("Which pool is near?"),
        max_tokens: 200,
        tools: [find],
        tool_choice: { type: "any" },
        max_iterations: 2,
      });
      for await (const message of runner) expect(message.stop_reason).toBe("tool_use");
      expect(calls.length).toBeGreaterThanOrEqual(2);
      for (const region of calls) expect(["eu", "us"]).toContain(region);
    });

    it("parses with a zod schema", async () => {
      const output_config = { format: zodOutputFormat(Region) };
      const message = await client().messages.parse({ ...ask(QUESTION), output_config });
      expect(Region.safeParse(message.parsed_output)).toMatchObject({ success: true });
    });

    it("counts tokens", async () => {
      const { input_tokens: few } = await client().messages.countTokens({ model: MODEL, messages: ask("x").messages });
      const { input_tokens: more } = await client().messages.countTokens({
        model: MODEL,
        messages: ask(QUESTION).messages,
      });
      expect(few).toBeGreaterThan(0);
      expect(more).toBeGreaterThan(few);
    });

    it("gets its own error classes", async () => {
      const tooLong = client().messages.create(ask("pool ".repeat(5_000)));
      await expect(tooLong).rejects.toBeInstanceOf(BadRequestError);
      await expect(tooLong).rejects.toMatchObject({
        error: { type: "error", error: { type: "invalid_request_error" } },
      });
      const forged = client({ apiKey: "lk_forged" }).messages.create(ask("x"));
      await expect(forged).rejects.toBeInstanceOf(AuthenticationError);
      const unknown = client().messages.create({ ...ask("x"), model: "no-such-model" });
      await expect(unknown).rejects.toBeInstanceOf(NotFoundError);
      const gone = client().messages.create({ ...ask("x"), model: served().goneModel });
      await expect(gone).rejects.toBeInstanceOf(InternalServerError);
    });

    it("repeats a request after a 429, when its key has room", async () => {
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
