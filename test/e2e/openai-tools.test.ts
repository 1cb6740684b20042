import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { type PoolProcess, startPool, startWorker } from "./support.ts";

/** JSON and tool calls by the official SDK and its helpers, from a real model that was trained for neither. */
let pool: PoolProcess;
let client: OpenAI;
const MODEL = "ligand-embedded";
const ask = (content: string) => ({ model: MODEL, messages: [{ role: "user" as const, content }] });
const Place = z.object({
  name: z.string().max(12),
  lanes: z.int(),
  open: z.boolean(),
  tags: z.array(z.enum(["a", "b"])).max(2),
});
const tools = [
  {
    type: "function" as const,
    function: {
      name: "find_pool",
      description: "Finds a pool.",
      parameters: {
        type: "object",
        properties: { region: { enum: ["eu", "us"] }, most: { type: "integer", minimum: 1 } },
        required: ["region", "most"],
        additionalProperties: false,
      },
    },
  },
];
const Arguments = z.strictObject({ region: z.enum(["eu", "us"]), most: z.int().min(1) });

beforeAll(async () => {
  pool = await startPool();
  await startWorker(pool, { slots: 4 });
  client = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey: pool.credentials.client_key, maxRetries: 0 });
});

describe("the official client", () => {
  it("parses an answer with the user's zod schema, whole and streamed", async () => {
    const request = { ...ask("What is a pool?"), response_format: zodResponseFormat(Place, "place"), max_tokens: 300 };
    const parsed = await client.chat.completions.parse(request);
    expect(Place.safeParse(parsed.choices[0]?.message.parsed).success).toBe(true);
    const streamed = await client.chat.completions.stream(request).finalChatCompletion();
    expect(Place.safeParse(streamed.choices[0]?.message.parsed).success).toBe(true);
  });

  it("gets numbers within the bounds of its schema", async () => {
    const Rating = z.object({ stars: z.int().min(1).max(5), share: z.number().min(0).max(1) });
    const response_format = zodResponseFormat(Rating, "rating");
    for (const seed of [1, 2, 3]) {
      const request = { ...ask("How good is it?"), response_format, seed, temperature: 1 };
      const parsed = await client.chat.completions.parse(request);
      expect(Rating.safeParse(parsed.choices[0]?.message.parsed)).toMatchObject({ success: true });
    }
  });

  it("gets a JSON object when it asks for any object", async () => {
    const format = { response_format: { type: "json_object" as const }, seed: 3, max_tokens: 900 };
    const { choices } = await client.chat.completions.create({ ...ask("What is a lane?"), ...format });
    const [choice] = choices;
    const content = choice?.message.content ?? "";
    if (choice?.finish_reason === "stop") expect(JSON.parse(content)).toBeTypeOf("object");
    else expect(choice?.finish_reason).toBe("length");
    expect(content).toMatch(/^\{/);
  });

  it("is told which keyword of a strict schema is not enforced", async () => {
    const response_format = zodResponseFormat(z.object({ a: z.string().regex(/^(?=x)/) }), "x");
    const refused = client.chat.completions.create({ ...ask("x"), response_format });
    await expect(refused).rejects.toMatchObject({
      status: 400,
      code: "unsupported_parameter",
      param: "response_format.json_schema.schema.properties.a.pattern",
    });
  });

  it("calls a tool and continues with the tool's answer", async () => {
    const question = ask("Which pool is near?");
    const { choices } = await client.chat.completions.create({
      ...question,
      tools,
      tool_choice: "required",
      max_tokens: 200,
    });
    const [choice] = choices;
    const call = choice?.message.tool_calls?.[0];
    if (choice === undefined || call?.type !== "function") throw new Error("no call");
    expect(choice.finish_reason).toBe("tool_calls");
    expect(choice.message.content).toBeNull();
    expect(call.function.name).toBe("find_pool");
    expect(Arguments.safeParse(JSON.parse(call.function.arguments)).success).toBe(true);

    const messages = [
      ...question.messages,
      choice.message,
      { role: "tool" as const, tool_call_id: call.id, content: "Alder" },
    ];
    const next = await client.chat.completions.create({ ...question, messages, tools, max_tokens: 60 });
    expect(next.choices[0]?.message.content?.length).toBeGreaterThan(0);
  });

  it("assembles the streamed pieces of a call", async () => {
    const tool_choice = { type: "function" as const, function: { name: "find_pool" } };
    const stream = client.chat.completions.stream({ ...ask("Which pool?"), tools, tool_choice, max_tokens: 200 });
    let pieces = 0;
    stream.on("tool_calls.function.arguments.delta", () => {
      pieces += 1;
    });
    const [choice] = (await stream.finalChatCompletion()).choices;
    const call = choice?.message.tool_calls?.[0];
    expect(choice?.finish_reason).toBe("tool_calls");
    expect(Arguments.safeParse(JSON.parse(call?.function.arguments ?? "")).success).toBe(true);
    expect(pieces).toBeGreaterThan(1);
  });

  it("gets either a call or a formatted answer when it allows both", async () => {
    const Answer = z.object({ ok: z.boolean() });
    const request = {
      ...ask("Which pool?"),
      tools,
      response_format: zodResponseFormat(Answer, "answer"),
      max_tokens: 200,
    };
    const [choice] = (await client.chat.completions.create(request)).choices;
    const call = choice?.message.tool_calls?.[0];
    if (call?.type === "function") expect(Arguments.parse(JSON.parse(call.function.arguments))).toBeDefined();
    else expect(Answer.parse(JSON.parse(choice?.message.content ?? ""))).toBeDefined();
  });

  it("may use a tool whose schema is enforced in part, and a tool without parameters", async () => {
    const Visit = z.object({ site: z.url(), by: z.record(z.string(), z.int()), at: z.tuple([z.boolean(), z.null()]) });
    const parameters = z.toJSONSchema(Visit);
    const odd = { type: "object", properties: { a: { type: "string", format: "phone" } }, minProperties: 1 };
    const many = [
      { type: "function" as const, function: { name: "visit", parameters } },
      { type: "function" as const, function: { name: "call", parameters: odd } },
      { type: "function" as const, function: { name: "now" } },
    ];
    const silent = await client.chat.completions.create({
      ...ask("x"),
      tools: many,
      tool_choice: "none",
      max_tokens: 5,
    });
    expect(silent.choices[0]?.message.tool_calls).toBeUndefined();
    const tool_choice = { type: "function" as const, function: { name: "now" } };
    const [choice] = (await client.chat.completions.create({ ...ask("x"), tools: many, tool_choice })).choices;
    expect(choice?.message.tool_calls).toMatchObject([{ function: { name: "now", arguments: "{}" } }]);
  });

  it("gets the usage of a call that its token limit cuts, whole and streamed", async () => {
    const tool_choice = "required" as const;
    for (const max_tokens of [1, 14]) {
      const request = { ...ask("Which pool?"), tools, tool_choice, max_tokens };
      const whole = await client.chat.completions.create(request);
      const stream = client.chat.completions.stream({ ...request, stream_options: { include_usage: true } });
      const chunks = await Array.fromAsync(stream);
      const counts = [whole.usage?.completion_tokens, chunks.at(-1)?.usage?.completion_tokens];
      expect(counts).toEqual([max_tokens, max_tokens]);
    }
  });

  it("cancels a stream by the id of its job", async () => {
    const { data: stream, response } = await client.chat.completions
      .create({ ...ask("What is Ligand?"), stream: true, temperature: 2, top_p: 1, max_tokens: 900 })
      .withResponse();
    const id = response.headers.get("x-ligand-job") ?? "";
    const answer = await client.post<{ id: string; cancelled: boolean; state: string }>(`/jobs/${id}/cancel`);
    expect(answer).toMatchObject({ id, cancelled: answer.state === "cancelled" });
    const read = Array.fromAsync(stream);
    if (answer.cancelled) await expect(read).rejects.toMatchObject({ code: "cancelled" });
    else expect((await read).length).toBeGreaterThan(0);
  });
});
