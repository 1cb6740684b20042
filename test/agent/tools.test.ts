import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { readJsonSchema } from "../../schema/wire/json-schema/json-schema.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { chatRequest } from "../../schema/wire/worker-frames.ts";
import type { GenerationEvent } from "../../worker-agent/engine/engine.ts";
import { type CallSyntax, callGrammar, callTrigger, isCall } from "../../worker-agent/engine/grammar/call-grammar.ts";
import { callReader } from "../../worker-agent/engine/grammar/call-reader.ts";
import { answer, chat, type LoadedModel, loadEmbedded } from "./loaded-model.ts";
import { TOOL_TEMPLATE } from "./tool-template.ts";

const WEATHER = {
  type: "object",
  properties: { city: { type: "string", maxLength: 12 }, unit: { enum: ["C", "F"] } },
  required: ["city", "unit"],
  additionalProperties: false,
};
const TOOLS = [
  { name: "get_weather", description: "The weather of a city.", parameters: WEATHER },
  { name: "get_time", parameters: { type: "object", properties: {}, additionalProperties: false } },
];
const valid = { get_weather: z.fromJSONSchema(WEATHER as Record<string, unknown>), get_time: z.strictObject({}) };

let plain: LoadedModel;
let knowing: LoadedModel;
beforeAll(async () => {
  plain = await loadEmbedded();
  knowing = await loadEmbedded({ chatTemplate: TOOL_TEMPLATE });
});
afterAll(async () => {
  await plain.engine.dispose();
  await knowing.engine.dispose();
});

interface ToolAnswer {
  text: string;
  calls: { id: string; name: string; arguments: string }[];
  last: GenerationEvent | undefined;
  tokens: number;
}

async function askWithTools(
  model: LoadedModel,
  request: Parameters<typeof chat>[1],
  content = "Hello",
): Promise<ToolAnswer> {
  const collected: ToolAnswer = { text: "", calls: [], last: undefined, tokens: 0 };
  for await (const event of model.engine.generate(chat(content, request), new AbortController().signal)) {
    collected.last = event;
    if ("tokens" in event) collected.tokens += event.tokens;
    if (event.type === "text") collected.text += event.text;
    if (event.type === "tool-call") collected.calls.push({ id: event.id, name: event.name, arguments: "" });
    if (event.type === "tool-arguments") {
      const call = collected.calls.at(-1) ?? expect.fail("arguments before a call");
      call.arguments += event.text;
    }
  }
  return collected;
}

function expectCalls({ calls, last, text, tokens }: ToolAnswer, before = ""): void {
  expect(text).toBe(before);
  if (last?.type !== "end") throw new Error(JSON.stringify(last));
  expect(last.finishReason).toBe("tool_calls");
  // The markers of a call are generated but not sent.
  expect(last.usage.completionTokens).toBeGreaterThan(tokens);
  expect(calls.length).toBeGreaterThan(0);
  expect(new Set(calls.map(({ id }) => id)).size).toBe(calls.length);
  for (const call of calls) {
    expect(valid[call.name as keyof typeof valid].safeParse(JSON.parse(call.arguments)).success).toBe(true);
  }
  const bytes = calls.reduce(
    (sum, call) => sum + call.name.length + Buffer.byteLength(call.arguments),
    Buffer.byteLength(text),
  );
  expect(tokens).toBeLessThanOrEqual(bytes);
}

describe("a tool call", () => {
  it.each([
    ["without a template for tools", () => plain],
    ["with one", () => knowing],
  ])("is made if one is required, %s", async (_what, model) => {
    for (const seed of [1, 2, 3]) {
      expectCalls(await askWithTools(model(), { tools: TOOLS, toolChoice: "required", seed, temperature: 1 }));
    }
  });

  it("uses the tool that tool_choice names", async () => {
    for (const { name } of TOOLS) {
      const result = await askWithTools(knowing, { tools: TOOLS, toolChoice: { name }, temperature: 1 });
      expectCalls(result);
      expect(result.calls.map((call) => call.name)).toEqual([name]);
    }
  });

  it("is the only one if parallel calls are off", async () => {
    for (const seed of [1, 2, 3, 4]) {
      const result = await askWithTools(knowing, {
        tools: TOOLS,
        toolChoice: "required",
        parallelToolCalls: false,
        seed,
        temperature: 2,
      });
      expect(result.calls).toHaveLength(1);
    }
  });

  it.each([1, 2, 12, 14])("is cut at %i tokens with length, and all tokens count", async (maxTokens) => {
    for (const model of [plain, knowing]) {
      const { last } = await askWithTools(model, {
        tools: TOOLS,
        toolChoice: { name: "get_weather" },
        maxTokens,
        seed: 1,
      });
      expect(last).toMatchObject({ type: "end", finishReason: "length", usage: { completionTokens: maxTokens } });
    }
  });

  it("of a tool without parameters has empty arguments", async () => {
    const none = [undefined, {}, { type: "object" }, { type: "object", properties: {} }];
    for (const parameters of none) {
      const tools = [{ name: "now", ...(parameters && { parameters }) }];
      const { calls } = await askWithTools(knowing, {
        tools,
        toolChoice: "required",
        parallelToolCalls: false,
        temperature: 2,
      });
      expect(calls).toMatchObject([{ name: "now", arguments: "{}" }]);
    }
  });

  it("is the model's choice otherwise: this model, which knows no calls, answers with text", async () => {
    const result = await askWithTools(plain, { tools: TOOLS, temperature: 0 });
    expect(result.calls).toEqual([]);
    expect(result.text).not.toBe("");
    expect(result.last).toMatchObject({ type: "end", finishReason: "stop" });
  });

  it("begins where the model writes the template's marker of a call, even in the middle of an answer", async () => {
    // The marker is a word of the model's own answer, so that the model writes it.
    const plainAnswer = await answer(plain.engine, chat("What is a pool?", { seed: 1, temperature: 0 }));
    const words = plainAnswer.text.split(" ");
    for (const mark of words.filter((word) => /^\w{4,}$/.test(word)).slice(0, 3)) {
      const before = plainAnswer.text.slice(0, plainAnswer.text.indexOf(mark));
      const template = TOOL_TEMPLATE.replaceAll("<tool_call>", mark).replace("Call one as", "");
      // The template does not show the tools, so the answer up to the marker stays the same.
      const silent = template
        .slice(template.indexOf("{%- else %}") + "{%- else %}".length)
        .replace("{%- endif %}\n{%- for message", "{%- for message");
      const marked = await loadEmbedded({ chatTemplate: silent });
      const result = await askWithTools(marked, { tools: TOOLS, seed: 1, temperature: 0 }, "What is a pool?");
      await marked.engine.dispose();
      expectCalls(result, before);
    }
  });

  it("works with the largest allowed number of tools and longest names", async () => {
    const start = TOOL_TEMPLATE.indexOf("{%- else %}") + "{%- else %}".length;
    // These tools do not fit the model's context, so the template shows none.
    const silent = TOOL_TEMPLATE.slice(start).replace("{%- endif %}\n{%- for message", "{%- for message");
    const model = await loadEmbedded({ chatTemplate: silent });
    const tools = Array.from({ length: LIMITS.tools }, (_, i) => ({
      name: `mcp__server__${String(i).padStart(LIMITS.toolNameChars - 13, "x")}`,
      parameters: WEATHER,
    }));
    const request = chat("Hello", { tools, toolChoice: "required", parallelToolCalls: false, seed: 1, temperature: 1 });
    expect(chatRequest.safeParse(request.request).success).toBe(true);
    const result = await askWithTools(model, {
      tools,
      toolChoice: "required",
      parallelToolCalls: false,
      seed: 1,
      temperature: 1,
    });
    await model.engine.dispose();
    expect(result.last).toMatchObject({ type: "end", finishReason: "tool_calls" });
    const [call] = result.calls;
    expect(tools.map(({ name }) => name)).toContain(call?.name);
    expect(valid.get_weather.safeParse(JSON.parse(call?.arguments ?? "")).success).toBe(true);
  });

  it("and its result are part of the next prompt", async () => {
    const messages = [
      { role: "user" as const, content: "Weather?" },
      {
        role: "assistant" as const,
        content: "",
        toolCalls: [{ id: "a", name: "get_weather", arguments: '{"city":"Oslo"}' }],
      },
      { role: "tool" as const, toolCallId: "a", content: "12 C" },
    ];
    for (const model of [plain, knowing]) {
      const without = await answer(model.engine, chat("Weather?", { tools: TOOLS, maxTokens: 1 }));
      const withAnswer = await answer(model.engine, chat("", { messages, tools: TOOLS, maxTokens: 1 }));
      expect(withAnswer.promptTokens).toBeGreaterThan(without.promptTokens + 10);
      expect(withAnswer.last).toMatchObject({ type: "end" });
    }
  });

  it("obeys the enforceable parts of its schema; the prompt shows the rest", async () => {
    const properties = {
      a: { enum: ["x", "y"], "x-why": "not a keyword" },
      b: { type: "string", format: "phone", maxLength: 3 },
    };
    const parameters = { type: "object", properties, required: ["a", "b"], minProperties: 1 };
    for (const model of [plain, knowing]) {
      const { calls } = await askWithTools(model, {
        tools: [{ name: "f", parameters }],
        toolChoice: { name: "f" },
        temperature: 2,
      });
      expect(JSON.parse(calls[0]?.arguments ?? "")).toEqual({
        a: expect.stringMatching(/^[xy]$/),
        b: expect.stringMatching(/^.{0,3}$/su),
      });
    }
  });

  it.each<[what: string, schema: Record<string, unknown>]>([
    ["a tuple", { type: "array", prefixItems: [{ type: "string" }], items: false }],
    ["a schema that is true", { type: "array", items: true } as Record<string, unknown>],
    ["no type", {}],
    ["a reference", { $ref: "#/$defs/a" }],
    ["an external reference", { $ref: "https://example.com/a" }],
    ["alternatives", { oneOf: [{ type: "null" }, { type: "string", pattern: "^(?!a)" }] }],
    ["null as one of several types", { type: ["string", "null"] }],
  ])("may have parameters with %s, whatever its template writes", async (_what, schema) => {
    const parameters = { type: "object", properties: { a: schema }, $defs: { a: { type: "integer" } } };
    for (const model of [plain, knowing]) {
      const { last } = await askWithTools(model, {
        tools: [{ name: "f", parameters }],
        toolChoice: "required",
        maxTokens: 5,
      });
      expect(last).toMatchObject({ type: "end" });
    }
  });

  it("is refused if the parameters are not an object", async () => {
    const tools = [{ name: "f", parameters: { type: "string" } }];
    expect((await askWithTools(plain, { tools })).last).toMatchObject({ type: "failed", param: "tools" });
  });
});

describe("tools beside a response format", () => {
  const schema = {
    type: "object",
    properties: { ok: { type: "boolean" } },
    required: ["ok"],
    additionalProperties: false,
  };
  const request = {
    tools: TOOLS,
    responseFormat: { type: "json_schema" as const, schema },
    parallelToolCalls: false as const,
  };

  it.each([
    ["without a template for tools", () => plain],
    ["with one", () => knowing],
  ])("lead to calls or to an answer in the format, %s", async (_what, model) => {
    const kinds = new Set<string>();
    for (let seed = 0; seed < 60 && kinds.size < 2; seed++) {
      const result = await askWithTools(model(), { ...request, seed, temperature: 2, topP: 1 }, `Hello ${seed}`);
      if (result.calls.length > 0) expectCalls(result);
      else expect(JSON.parse(result.text)).toEqual({ ok: expect.any(Boolean) });
      kinds.add(result.calls.length > 0 ? "calls" : "answer");
    }
    expect([...kinds].toSorted()).toEqual(["answer", "calls"]);
  });
});

describe("a text that may be a call or JSON", () => {
  const tools = [{ name: "get" }, { name: "get_all" }];
  const like = (open: string, prefix: string): CallSyntax => ({
    open,
    close: "",
    between: null,
    prefix,
    beforeArguments: () => '", "parameters": ',
    afterArguments: () => "}",
  });
  it.each<[syntax: CallSyntax, text: string, call: boolean | null]>([
    [like("", '<call>{"name": "'), "<", null],
    [like("", '<call>{"name": "'), '{"ok"', false],
    [like("", '<call>{"name": "'), '<call>{"name": "get", "parameters": {', true],
    [like("", '{"name": "'), '{"na', null],
    [like("", '{"name": "'), '{"name": "got', false],
    [like("", '{"name": "'), '{"name": "get_all", "parameters": ', true],
    [like("", '{"name": "'), '{"name": "get", "parameter": ', false],
    [like("[CALLS]", '{"name": "'), "[", null],
    [like("[CALLS]", '{"name": "'), "[]", false],
  ])("is recognised as early as possible: %#", (syntax, text, call) => {
    expect(isCall(text, tools, syntax)).toBe(call);
  });
});

describe("the reader of calls", () => {
  const reading = readJsonSchema(WEATHER);
  if (!reading.ok) throw new Error(reading.message);
  const tools = [
    { name: "get", parameters: reading.schema },
    { name: "get_all", parameters: reading.schema },
  ];
  const syntaxes: [what: string, syntax: CallSyntax][] = [
    [
      "the library's own syntax",
      { open: "", close: "", between: null, prefix: "||call: ", beforeArguments: () => "(", afterArguments: () => ")" },
    ],
    [
      "calls in one section",
      {
        open: "[CALLS]",
        close: "[/CALLS]",
        between: ", ",
        prefix: '{"n": "',
        beforeArguments: () => '", "a": ',
        afterArguments: () => "}",
      },
    ],
    [
      "calls that repeat the name",
      {
        open: "",
        close: "",
        between: "",
        prefix: "<",
        beforeArguments: (name) => `>${name}:`,
        afterArguments: (name) => `</${name}>`,
      },
    ],
  ];
  it.each(syntaxes)("finds names and arguments in any pieces: %s", (_what, syntax) => {
    const lead = "ab";
    const argument = '{"a": "}\\"]{", "b": [1, {}]}';
    const call = (name: string) =>
      syntax.prefix + name + syntax.beforeArguments(name) + argument + syntax.afterArguments(name);
    const calls = syntax.between === null ? ["get_all"] : ["get_all", "get", "get_all"];
    const text = lead + syntax.open + calls.map(call).join(syntax.between ?? "") + syntax.close;
    for (const size of [1, 2, 3, 7, text.length]) {
      const reader = callReader(tools, syntax, lead);
      const found: { name: string; arguments: string }[] = [];
      for (let at = 0; at < text.length; at += size) {
        for (const piece of reader.push(text.slice(at, at + size))) {
          if (piece.type === "call") found.push({ name: piece.name, arguments: "" });
          else (found.at(-1) ?? expect.fail("arguments first")).arguments += piece.text;
        }
      }
      expect(found).toEqual(calls.map((name) => ({ name, arguments: argument })));
    }
    expect(callGrammar(tools, syntax, { parallel: true, lead })).toContain("root ::= ");
  });

  it.each([
    ["||call: ", "||call:", false],
    ['<tool_call>\n{"name": "', "<tool_call>", false],
    ['{"name": "', '{"name":', true],
    ["[TOOL_CALLS]", "[TOOL_CALLS]", false],
  ])("begins at a marker: %j is %j", (prefix, text, atStartOnly) => {
    const syntax = { open: "", close: "", between: null, prefix, beforeArguments: () => "", afterArguments: () => "" };
    expect(callTrigger(syntax)).toEqual({ text, atStartOnly });
  });
});
