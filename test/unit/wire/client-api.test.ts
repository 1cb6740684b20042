import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { chatApi, completionApi, parseClientBody } from "../../../schema/wire/client-api.ts";
import { toChatRequest, toCompletionRequest } from "../../../schema/wire/client-request.ts";
import { failFast } from "../../../schema/wire/fail-fast.ts";
import { used } from "../../../schema/wire/parameter-table.ts";

const chat = (extra: Record<string, unknown> = {}) => ({
  model: "m",
  messages: [{ role: "user", content: "hi" }],
  ...extra,
});

describe("a list that is read up to its first wrong item", () => {
  const seen: unknown[] = [];
  const item = z.number().refine((value) => seen.push(value) > 0);
  const list = z.object({ list: failFast(z.array(item).min(1).max(3)) });
  it.each<[given: unknown, want: number[] | string, looked: number]>([
    [[1, 2, 3], [1, 2, 3], 3],
    [[1, "2", "3"], "list.1 invalid_type", 1],
    [[], "list too_small", 0],
    [[1, 2, 3, 4], "list too_big", 0],
    ["1", "list invalid_type", 0],
  ])("%j", (given, want, looked) => {
    seen.length = 0;
    const parsed = list.safeParse({ list: given });
    const issues = parsed.error?.issues.map(({ path, code }) => `${path.join(".")} ${code}`);
    expect(issues ?? parsed.data?.list).toEqual(issues ? [want] : want);
    expect(seen).toHaveLength(looked);
  });
});

describe("what is accepted", () => {
  it.each<[what: string, body: Record<string, unknown>, want: object]>([
    ["the minimum", {}, { messages: [{ role: "user", content: "hi" }], stream: false }],
    [
      "sampling",
      { temperature: 0, top_p: 0.5, seed: 7, stop: "x" },
      { temperature: 0, topP: 0.5, seed: 7, stop: ["x"] },
    ],
    [
      "the newer name of the token limit before the older one",
      { max_tokens: 5, max_completion_tokens: 9 },
      { maxTokens: 9 },
    ],
    ["nulls as absent", { temperature: null, stop: null, seed: null, max_tokens: null }, { stream: false }],
    [
      "nulls that a client writes for all parameters that it does not set",
      {
        whatever: null,
        messages: [{ role: "user", content: "hi", refusal: null, tool_calls: null, reasoning_content: null }],
      },
      { messages: [{ role: "user", content: "hi" }] },
    ],
    [
      "an answer that has only reasoning, as an empty answer",
      {
        messages: [
          { role: "user", content: "hi" },
          { role: "assistant", reasoning_content: "hm" },
          { role: "user", content: "and?" },
        ],
      },
      { messages: [{}, { role: "assistant", content: "" }, {}] },
    ],
    [
      "an answer sent back with the next question",
      {
        messages: [
          { role: "user", content: "hi" },
          { role: "assistant", content: "Hello.", refusal: null, annotations: [], tool_calls: [] },
          { role: "user", content: "and?" },
        ],
      },
      { messages: [{}, { role: "assistant", content: "Hello." }, {}] },
    ],
    [
      "text parts and developer messages",
      {
        messages: [
          {
            role: "developer",
            content: [
              { type: "text", text: "a" },
              { type: "text", text: "b" },
            ],
          },
        ],
      },
      { messages: [{ role: "system", content: "ab" }] },
    ],
    [
      "neutral values of unsupported parameters",
      { n: 1, tools: [], logit_bias: {}, frequency_penalty: 0, store: false },
      { stream: false },
    ],
  ])("accepts %s", (_what, extra, want) => {
    const parsed = parseClientBody(chatApi, chat(extra));
    expect(parsed.ok && toChatRequest(parsed.body)).toMatchObject(want);
  });

  it("accepts a completion's prompt as text or as a list of one", () => {
    for (const prompt of ["p", ["p"]]) {
      const parsed = parseClientBody(completionApi, { model: "m", prompt });
      expect(parsed.ok && toCompletionRequest(parsed.body)).toEqual({ prompt: "p", stream: false });
    }
  });
});

/**
 * The client in which each shape of history was seen is named beside it: these clients send an answer back as they got
 * it.
 */
describe("an earlier answer that is sent back", () => {
  const call = { id: "c", type: "function", function: { name: "f", arguments: "{}" } };
  const plainAnswer = { role: "assistant", content: "Hello." };
  const calls = { role: "assistant", content: "", toolCalls: [{ id: "c", name: "f", arguments: "{}" }] };

  it.each<[what: string, message: object, want: object]>([
    // openai 6, chat.completions.parse() and stream(): lib/parser
    ["with what the official SDK parsed", { content: "Hello.", parsed: { a: 1 }, refusal: null }, plainAnswer],
    [
      "with parsed arguments, which runTools() sends back",
      { content: null, tool_calls: [{ ...call, function: { ...call.function, parsed_arguments: { a: [1] } } }] },
      calls,
    ],
    ["with the index of a streamed call", { content: "", tool_calls: [{ ...call, index: 0 }] }, calls],
    ["with annotations", { content: "Hello.", annotations: [{ type: "url_citation", url_citation: {} }] }, plainAnswer],
    ["with nulls", { content: "Hello.", audio: null, function_call: null, tool_calls: null, name: null }, plainAnswer],
    // LiteLLM, types/utils.py
    [
      "with members that a gateway adds",
      { content: "Hello.", provider_specific_fields: { x: 1 }, thinking_blocks: [{}], reasoning_content: "Hm." },
      plainAnswer,
    ],
    [
      "with the signature of a thought beside a call",
      { content: null, tool_calls: [{ ...call, extra_content: { google: { thought_signature: "x" } } }] },
      calls,
    ],
    // OpenRouter, vLLM, DeepSeek
    [
      "with reasoning",
      { content: "Hello.", reasoning: "Hm.", reasoning_details: [{ type: "reasoning.text" }] },
      plainAnswer,
    ],
    // Stores of agents that keep the whole choice
    [
      "with its finish reason",
      { content: "Hello.", finish_reason: "stop", timestamp: 1, id: "x", usage: {} },
      plainAnswer,
    ],
    ["with a call without a type", { content: null, tool_calls: [{ id: "c", function: call.function }] }, calls],
    [
      "as parts",
      {
        content: [
          { type: "text", text: "Hel" },
          { type: "text", text: "lo." },
        ],
      },
      plainAnswer,
    ],
    [
      "as parts of the Responses API",
      { content: [{ type: "output_text", text: "Hello.", annotations: [], logprobs: [] }] },
      plainAnswer,
    ],
    [
      "with thoughts as parts",
      {
        content: [
          { type: "thinking", thinking: [] },
          { type: "text", text: "Hello." },
        ],
      },
      plainAnswer,
    ],
    ["with no parts", { content: [], tool_calls: [call] }, calls],
    ["that is a refusal", { content: null, refusal: "No." }, { role: "assistant", content: "No." }],
    [
      "that is a refusal part",
      { content: [{ type: "refusal", refusal: "No." }] },
      { role: "assistant", content: "No." },
    ],
    ["with a refusal beside text", { content: "Hello.", refusal: "No." }, plainAnswer],
    ["that is empty", { content: "" }, { role: "assistant", content: "" }],
    ["that was cut before its first text", { content: null }, { role: "assistant", content: "" }],
  ])("is accepted %s", (_what, message, want) => {
    const messages = [
      { role: "user", content: "hi" },
      { role: "assistant", ...message },
    ];
    const parsed = parseClientBody(chatApi, { model: "m", messages });
    expect(parsed.ok && toChatRequest(parsed.body).messages[1]).toEqual(want);
  });

  it("is never refused for an unknown member, whatever its value", () => {
    const known = new Set(["role", "content", "refusal", "tool_calls", "function_call", "audio", "prefix", "partial"]);
    const name = fc.string().filter((each) => !known.has(each) && !["id", "type", "function"].includes(each));
    fc.assert(
      fc.property(fc.dictionary(name, fc.jsonValue()), (others) => {
        const message = { ...others, ...plainAnswer, tool_calls: [{ ...others, ...call }] };
        const parsed = parseClientBody(chatApi, chat({ messages: [message] }));
        expect(parsed.ok && toChatRequest(parsed.body).messages).toEqual([
          { ...plainAnswer, toolCalls: calls.toolCalls },
        ]);
      }),
    );
  });

  it.each<[what: string, message: object, param: string]>([
    ["a call of the old kind", { content: null, function_call: { name: "f", arguments: "{}" } }, "function_call"],
    ["an answer that is audio elsewhere", { content: null, audio: { id: "x" } }, "audio"],
    ["the request to continue a message", { content: "Hel", prefix: true }, "prefix"],
    ["the same request in another service's parameter", { content: "Hel", partial: true }, "partial"],
    ["a call of another kind", { content: null, tool_calls: [{ type: "custom", id: "c" }] }, "tool_calls.0.type"],
    ["an image", { content: [{ type: "image_url", image_url: {} }] }, "content.0.type"],
  ])("is refused if it asks for something: %s", (_what, message, param) => {
    const parsed = parseClientBody(chatApi, chat({ messages: [{ role: "assistant", ...message }] }));
    expect(parsed).toMatchObject({ code: "http/unsupported-parameter", param: `messages.0.${param}` });
  });

  it.each<[what: string, messages: object[]]>([
    ["a tool's result with its name", [{ role: "tool", tool_call_id: "c", name: "f", content: "r" }]],
    ["in parts", [{ role: "tool", tool_call_id: "c", content: [{ type: "text", text: "r" }] }]],
  ])("%s is a tool's result", (_what, messages) => {
    const parsed = parseClientBody(chatApi, chat({ messages }));
    expect(parsed.ok && toChatRequest(parsed.body).messages).toEqual([{ role: "tool", toolCallId: "c", content: "r" }]);
  });
  it.each(["", []])("a tool's result may be empty: %j", (content) => {
    const parsed = parseClientBody(chatApi, chat({ messages: [{ role: "tool", tool_call_id: "c", content }] }));
    expect(parsed.ok && toChatRequest(parsed.body).messages).toEqual([{ role: "tool", toolCallId: "c", content: "" }]);
  });
});

describe("each refusal names its cause:", () => {
  it.each<[what: string, body: unknown, code: string, param: string | null]>([
    ["not an object", [], "http/invalid-body", null],
    ["an unknown role", chat({ messages: [{ role: "boss", content: "hi" }] }), "http/invalid-body", "messages.0.role"],
    ["no model", { messages: [{ role: "user", content: "hi" }] }, "http/invalid-body", "model"],
    ["no messages", { model: "m" }, "http/invalid-body", "messages"],
    ["empty messages", chat({ messages: [] }), "http/invalid-body", "messages"],
    ["n of zero", chat({ n: 0 }), "http/invalid-body", "n"],
    ["n that is too large", chat({ n: 9 }), "http/invalid-body", "n"],
    [
      "more alternatives than OpenAI returns",
      chat({ logprobs: true, top_logprobs: 21 }),
      "http/invalid-body",
      "top_logprobs",
    ],
    ["a tool of another type", chat({ tools: [{ type: "custom" }] }), "http/unsupported-parameter", "tools.0.type"],
    [
      "a tool without a name",
      chat({ tools: [{ type: "function", function: {} }] }),
      "http/invalid-body",
      "tools.0.function.name",
    ],
    [
      "an image",
      chat({ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }] }),
      "http/unsupported-parameter",
      "messages.0.content.0.type",
    ],
    [
      "a message of a function",
      chat({ messages: [{ role: "function", content: "x" }] }),
      "http/unsupported-parameter",
      "messages.0.role",
    ],
    [
      "another format",
      chat({ response_format: { type: "grammar" } }),
      "http/unsupported-parameter",
      "response_format.type",
    ],
    [
      "a misspelt parameter of a message",
      chat({ messages: [{ role: "user", content: "hi", refusl: 1 }] }),
      "http/unknown-parameter",
      "messages.0.refusl",
    ],
    ["a misspelt parameter", chat({ temprature: 1 }), "http/unknown-parameter", "temprature"],
    [
      "an unknown part of a message",
      chat({ messages: [{ role: "user", content: "x", x: 1 }] }),
      "http/unknown-parameter",
      "messages.0.x",
    ],
    ["a temperature out of range", chat({ temperature: 3 }), "http/invalid-body", "temperature"],
    ["too many stops", chat({ stop: ["a", "b", "c", "d", "e"] }), "http/invalid-body", "stop"],
    ["a wrong type", chat({ max_tokens: "ten" }), "http/invalid-body", "max_tokens"],
    [
      "a lone surrogate",
      chat({ messages: [{ role: "user", content: "\ud800" }] }),
      "http/invalid-body",
      "messages.0.content",
    ],
    ["a lone surrogate in a stop sequence", chat({ stop: ["\ud800"] }), "http/invalid-body", "stop.0"],
    ["a prototype", JSON.parse('{"__proto__":{"model":"m"},"messages":[]}'), "http/unknown-parameter", "__proto__"],
    ["a prototype's name", chat({ constructor: 1 }), "http/unknown-parameter", "constructor"],
  ])("%s", (_what, body, code, param) => {
    expect(parseClientBody(chatApi, body)).toMatchObject({ ok: false, code, param });
  });

  it.each<[extra: Record<string, unknown>, message: string]>([
    [{ max_tokens: 0 }, "max_tokens is not valid: at least 1."],
    [{ max_tokens: 1.5 }, "max_tokens is not valid: expected integer."],
    [{ temperature: 3 }, "temperature is not valid: at most 2."],
    [{ messages: [] }, "messages is not valid: at least 1 item."],
    [{ stop: ["a", "b", "c", "d", "e"] }, "stop is not valid: at most 4 items."],
    [{ stop: "" }, "stop is not valid: at least 1 character."],
  ])("%j: the message states the allowed values", (extra, message) => {
    expect(parseClientBody(chatApi, chat(extra))).toMatchObject({ message: `The value of ${message}` });
  });

  it("with a bound that is itself not allowed", () => {
    const bounded = z.object({ x: z.number().gt(0).lt(5) });
    const parse = (x: number) => parseClientBody({ body: bounded, parameters: { members: { x: used() } } }, { x });
    expect([parse(0), parse(5)]).toMatchObject([
      { message: "The value of x is not valid: more than 0." },
      { message: "The value of x is not valid: less than 5." },
    ]);
  });

  it("any JSON gets a coded outcome, and none throws", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.dictionary(fc.string(), fc.jsonValue()), (value, extra) => {
        for (const body of [value, { ...chat(), ...extra }]) {
          const parsed = parseClientBody(chatApi, body);
          if (!parsed.ok) expect(parsed.code).toMatch(/^http\/(invalid-body|unsupported-parameter|unknown-parameter)$/);
        }
      }),
    );
  });
});
