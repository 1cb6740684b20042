import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { type PoolProcess, startPool, startWorker } from "./support.ts";

/** The official SDKs, unmodified, at `/v1/responses` and `/v1/messages` of a real pool with a real model. */
let pool: PoolProcess;
let openai: OpenAI;
let anthropic: Anthropic;
const MODEL = "ligand-embedded";
const SCHEMA = {
  type: "object" as const,
  properties: { region: { enum: ["eu", "us"] }, most: { type: "integer", minimum: 1, maximum: 99 } },
  required: ["region", "most"],
  additionalProperties: false,
};
const Arguments = z.strictObject({ region: z.enum(["eu", "us"]), most: z.int().min(1).max(99) });

beforeAll(async () => {
  pool = await startPool();
  await startWorker(pool, { slots: 4 });
  const apiKey = pool.credentials.client_key;
  openai = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey, maxRetries: 0 });
  anthropic = new Anthropic({ baseURL: pool.url, apiKey, maxRetries: 0 });
});

describe("OpenAI's client at /v1/responses", () => {
  const ask = (input: string) => ({ model: MODEL, input, temperature: 0 });
  const tools = [
    { type: "function" as const, name: "find_pool", description: "Finds a pool.", parameters: SCHEMA, strict: true },
  ];

  it("gets the same answer whole and streamed, and continues the conversation", async () => {
    const whole = await openai.responses.create({ ...ask("What is a pool?"), instructions: "Be brief." });
    expect(whole.status).toBe("completed");
    expect(whole.output_text).toMatch(/^[A-Z].*[.!?]$/s);
    const stream = openai.responses.stream({ ...ask("What is a pool?"), instructions: "Be brief." });
    const deltas: string[] = [];
    stream.on("response.output_text.delta", ({ delta }) => deltas.push(delta));
    const streamed = await stream.finalResponse();
    expect(streamed.output_text).toBe(whole.output_text);
    expect(deltas.join("")).toBe(whole.output_text);
    expect(deltas.length).toBeGreaterThan(1);
    expect(streamed.usage).toEqual(whole.usage);

    const next = await openai.responses.create({
      ...ask(""),
      store: false,
      input: [
        { role: "user", content: "What is a pool?" },
        ...(whole.output as OpenAI.Responses.ResponseInput),
        { role: "user", content: "And a worker?" },
      ],
    });
    expect(next.usage?.input_tokens).toBeGreaterThan(whole.usage?.input_tokens ?? Number.POSITIVE_INFINITY);
  });

  it("is told which limit cut an answer", async () => {
    const cut = await openai.responses.create({ ...ask("What is a pool?"), max_output_tokens: 2 });
    expect(cut).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" } });
    expect(cut.usage?.output_tokens).toBe(2);
  });

  it("parses an answer with the user's zod schema", async () => {
    const Place = z.object({ name: z.string().max(12), lanes: z.int(), open: z.boolean() });
    const parsed = await openai.responses.parse({
      ...ask("What is a pool?"),
      text: { format: zodTextFormat(Place, "place") },
      max_output_tokens: 300,
    });
    expect(Place.safeParse(parsed.output_parsed).success).toBe(true);
  });

  it("calls a tool and continues with its output, whole and streamed", async () => {
    const question = { role: "user" as const, content: "Which pool is near?" };
    const request = {
      model: MODEL,
      input: [question],
      tools,
      tool_choice: "required" as const,
      max_output_tokens: 200,
    };
    for (const response of [
      await openai.responses.create(request),
      await openai.responses.stream(request).finalResponse(),
    ]) {
      const call = response.output.flatMap((item) => (item.type === "function_call" ? [item] : []))[0] ?? expect.fail();
      expect(call.name).toBe("find_pool");
      expect(Arguments.safeParse(JSON.parse(call.arguments)).success).toBe(true);
      const output = { type: "function_call_output" as const, call_id: call.call_id, output: "Alder" };
      const next = await openai.responses.create({
        model: MODEL,
        input: [question, ...(response.output as OpenAI.Responses.ResponseInput), output],
        tools,
        max_output_tokens: 60,
      });
      expect(next.output.length).toBeGreaterThan(0);
    }
  });

  it("gets an error that names the unsupported parameter and the remedy", async () => {
    const refused = openai.responses.create({ ...ask("x"), previous_response_id: "resp_1" });
    await expect(refused).rejects.toMatchObject({
      status: 400,
      code: "unsupported_parameter",
      param: "previous_response_id",
    });
  });
});

describe("Anthropic's client at /v1/messages", () => {
  const messages = [{ role: "user" as const, content: "What is a pool?" }];
  const request = { model: MODEL, max_tokens: 200, messages };
  const tools = [{ name: "find_pool", description: "Finds a pool.", input_schema: SCHEMA }];

  it("gets an answer whole and streamed, and continues the conversation", async () => {
    const whole = await anthropic.messages.create(request);
    expect(whole).toMatchObject({ type: "message", role: "assistant", model: MODEL, stop_reason: "end_turn" });
    expect(whole._request_id).toMatch(/^[0-9a-f-]{36}$/);
    const stream = anthropic.messages.stream(request);
    const pieces: string[] = [];
    stream.on("text", (piece) => pieces.push(piece));
    const streamed = await stream.finalMessage();
    expect(streamed.content).toMatchObject([{ type: "text", text: pieces.join("") }]);
    expect(streamed.usage.input_tokens).toBe(whole.usage.input_tokens);
    const next = await anthropic.messages.create({
      ...request,
      messages: [
        ...messages,
        { role: "assistant", content: whole.content },
        { role: "user", content: "And a worker?" },
      ],
    });
    expect(next.usage.input_tokens).toBeGreaterThan(whole.usage.input_tokens);
  });

  it("calls a tool and continues with its result, whole and streamed", async () => {
    const asking = { ...request, tools, tool_choice: { type: "any" as const } };
    for (const message of [
      await anthropic.messages.create(asking),
      await anthropic.messages.stream(asking).finalMessage(),
    ]) {
      expect(message.stop_reason).toBe("tool_use");
      const call = message.content.find((block) => block.type === "tool_use") ?? expect.fail("no call");
      expect(Arguments.safeParse(call.input).success).toBe(true);
      const result = {
        type: "tool_result" as const,
        tool_use_id: call.id,
        content: [{ type: "text" as const, text: "Alder" }],
      };
      const next = await anthropic.messages.create({
        ...request,
        tools,
        messages: [...messages, { role: "assistant", content: message.content }, { role: "user", content: [result] }],
      });
      expect(next.usage.output_tokens).toBeGreaterThan(0);
    }
  });

  it("stops at a stop sequence, and reports which one", async () => {
    const { content } = await anthropic.messages.create(request);
    const answerText = content[0]?.type === "text" ? content[0].text : "";
    const stop = /\s(\w{3,})/.exec(answerText)?.[1] ?? expect.fail(`no word in ${answerText}`);
    // Two answers have the same words only because temperature 0 always picks the most likely token.
    const greedy = await anthropic.messages.create({ ...request, ...{ temperature: 0 } });
    const first = greedy.content[0]?.type === "text" ? (/\w{3,}/.exec(greedy.content[0].text)?.[0] ?? stop) : stop;
    const stopped = await anthropic.messages.create({ ...request, ...{ temperature: 0 }, stop_sequences: [first] });
    expect(stopped).toMatchObject({ stop_reason: "stop_sequence", stop_sequence: first });
  });

  it("counts the tokens of a prompt as the usage of an answer does", async () => {
    const counted = await anthropic.messages.countTokens({ model: MODEL, messages, system: "Be brief.", tools });
    const answered = await anthropic.messages.create({ ...request, system: "Be brief.", tools });
    expect(counted.input_tokens).toBe(answered.usage.input_tokens);
    const long = await anthropic.messages.countTokens({
      model: MODEL,
      messages: [{ role: "user", content: "one word after another, ".repeat(1_000) }],
    });
    expect(long.input_tokens).toBeGreaterThan(1_000);
  });

  it("serves the request of a coding agent", async () => {
    const cache_control = { type: "ephemeral" as const };
    const message = await anthropic.beta.messages.create({
      model: MODEL,
      max_tokens: 20,
      system: [
        { type: "text", text: "You are an agent.", cache_control },
        { type: "text", text: "Be brief.", cache_control },
      ],
      messages: [{ role: "user", content: [{ type: "text", text: "hi", cache_control }] }],
      metadata: { user_id: "user_1" },
      thinking: { type: "enabled", budget_tokens: 1024 },
      betas: ["interleaved-thinking-2025-05-14"],
    });
    expect(message.content.length).toBeGreaterThan(0);
  });

  it("gets errors of its own classes", async () => {
    const other = new Anthropic({ baseURL: pool.url, apiKey: "lk_nobody", maxRetries: 0 });
    await expect(other.messages.create(request)).rejects.toBeInstanceOf(Anthropic.AuthenticationError);
    await expect(anthropic.messages.create({ ...request, model: "nobody-has-it" })).rejects.toBeInstanceOf(
      Anthropic.NotFoundError,
    );
    await expect(anthropic.messages.create({ ...request, container: "c" })).rejects.toMatchObject({
      status: 400,
      type: "invalid_request_error",
      errorCode: "unsupported_parameter",
    });
    const tooLong = anthropic.messages.create({
      ...request,
      messages: [{ role: "user", content: "one word after another, ".repeat(10_000) }],
    });
    await expect(tooLong).rejects.toBeInstanceOf(Anthropic.BadRequestError);
  });
});
