import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import { chatCompletionBody, completionBody, parseClientBody } from "../../../schema/wire/client-api.ts";
import { toChatRequest, toCompletionRequest } from "../../../schema/wire/client-request.ts";

const chat = (extra: Record<string, unknown> = {}) => ({
  model: "m",
  messages: [{ role: "user", content: "hi" }],
  ...extra,
});

describe("what is understood", () => {
  it.each<[what: string, body: Record<string, unknown>, want: object]>([
    ["the least", {}, { messages: [{ role: "user", content: "hi" }], stream: false }],
    [
      "sampling",
      { temperature: 0, top_p: 0.5, seed: 7, stop: "x" },
      { temperature: 0, topP: 0.5, seed: 7, stop: ["x"] },
    ],
    ["the newer name of the token limit first", { max_tokens: 5, max_completion_tokens: 9 }, { maxTokens: 9 }],
    ["nulls as absent", { temperature: null, stop: null, seed: null, max_tokens: null }, { stream: false }],
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
      "neutral values of what is not supported",
      { n: 1, tools: [], logit_bias: {}, frequency_penalty: 0, store: false },
      { stream: false },
    ],
  ])("takes %s", (_what, extra, want) => {
    const parsed = parseClientBody(chatCompletionBody, chat(extra));
    expect(parsed.ok && toChatRequest(parsed.body)).toMatchObject(want);
  });

  it("takes a completion's prompt as text or as a list of one", () => {
    for (const prompt of ["p", ["p"]]) {
      const parsed = parseClientBody(completionBody, { model: "m", prompt });
      expect(parsed.ok && toCompletionRequest(parsed.body)).toEqual({ prompt: "p", stream: false });
    }
  });
});

describe("what is refused, by name", () => {
  it.each<[what: string, body: unknown, code: string, param: string | null]>([
    ["no object", [], "http/invalid-body", null],
    ["an unknown role", chat({ messages: [{ role: "boss", content: "hi" }] }), "http/invalid-body", "messages.0.role"],
    ["no model", { messages: [{ role: "user", content: "hi" }] }, "http/invalid-body", "model"],
    ["no messages", { model: "m" }, "http/invalid-body", "messages"],
    ["empty messages", chat({ messages: [] }), "http/invalid-body", "messages"],
    ["n of two", chat({ n: 2 }), "http/unsupported-parameter", "n"],
    ["logprobs", chat({ logprobs: true }), "http/unsupported-parameter", "logprobs"],
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
      "a function's message",
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
      "half a character",
      chat({ messages: [{ role: "user", content: "\ud800" }] }),
      "http/invalid-body",
      "messages.0.content",
    ],
    ["half a character in a stop", chat({ stop: ["\ud800"] }), "http/invalid-body", "stop.0"],
    ["a prototype", JSON.parse('{"__proto__":{"model":"m"},"messages":[]}'), "http/invalid-body", "model"],
    ["a prototype's name", chat({ constructor: 1 }), "http/unknown-parameter", "constructor"],
  ])("%s", (_what, body, code, param) => {
    expect(parseClientBody(chatCompletionBody, body)).toMatchObject({ ok: false, code, param });
  });

  it.each<[extra: Record<string, unknown>, message: string]>([
    [{ max_tokens: 0 }, "max_tokens is not valid: at least 1."],
    [{ max_tokens: 1.5 }, "max_tokens is not valid: expected integer."],
    [{ temperature: 3 }, "temperature is not valid: at most 2."],
    [{ messages: [] }, "messages is not valid: at least 1 item."],
    [{ stop: ["a", "b", "c", "d", "e"] }, "stop is not valid: at most 4 items."],
    [{ stop: "" }, "stop is not valid: at least 1 character."],
    [{ user: "u".repeat(513) }, "user is not valid: at most 512 characters."],
  ])("%j with what would be right", (extra, message) => {
    expect(parseClientBody(chatCompletionBody, chat(extra))).toMatchObject({ message: `The value of ${message}` });
  });

  it("with a bound that is not itself allowed", () => {
    const bounded = z.object({ x: z.number().gt(0).lt(5) });
    const said = (x: number) => parseClientBody(bounded, { x });
    expect([said(0), said(5)]).toMatchObject([
      { message: "The value of x is not valid: more than 0." },
      { message: "The value of x is not valid: less than 5." },
    ]);
  });

  it("answers a coded outcome to any JSON whatever, and never throws", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.dictionary(fc.string(), fc.jsonValue()), (value, extra) => {
        for (const body of [value, { ...chat(), ...extra }]) {
          const parsed = parseClientBody(chatCompletionBody, body);
          if (!parsed.ok) expect(parsed.code).toMatch(/^http\/(invalid-body|unsupported-parameter|unknown-parameter)$/);
        }
      }),
    );
  });
});
