import { describe, expect, it } from "vitest";
import * as z from "zod";
import {
  canMeet,
  requestFor,
  requirementsOf,
  unmetRequirement,
} from "../../../edge/inference/jobs/worker-capability-rules.ts";
import type { ChatRequest, JobRequest } from "../../../schema/wire/worker-frames.ts";

/**
 * The request of a chat as agents of v1 and v1.1 parse it. It is kept unchanged here, because their strict schemas
 * cannot change.
 */
const sampling = {
  maxTokens: z.int().positive().optional(),
  temperature: z.number().min(0).max(2).optional(),
  topP: z.number().min(0).max(1).optional(),
  seed: z.int().optional(),
  stop: z.array(z.string()).max(4).optional(),
  stream: z.boolean(),
};
const toolCalls = z.array(z.strictObject({ id: z.string(), name: z.string(), arguments: z.string() })).optional();
const olderChat = z.strictObject({
  messages: z.array(
    z.discriminatedUnion("role", [
      z.strictObject({ role: z.enum(["system", "user"]), content: z.string() }),
      z.strictObject({ role: z.literal("assistant"), content: z.string(), toolCalls }),
      z.strictObject({ role: z.literal("tool"), content: z.string(), toolCallId: z.string() }),
    ]),
  ),
  ...sampling,
  responseFormat: z
    .discriminatedUnion("type", [
      z.strictObject({ type: z.literal("json_object") }),
      z.strictObject({ type: z.literal("json_schema"), schema: z.record(z.string(), z.unknown()) }),
    ])
    .optional(),
  tools: z
    .array(
      z.strictObject({
        name: z.string(),
        description: z.string().optional(),
        parameters: z.record(z.string(), z.unknown()).optional(),
      }),
    )
    .optional(),
  toolChoice: z.union([z.literal("required"), z.strictObject({ name: z.string() })]).optional(),
  parallelToolCalls: z.literal(false).optional(),
});

const withTools: JobRequest = {
  messages: [
    { role: "user", content: "hi" },
    { role: "assistant", content: "", toolCalls: [{ id: "c", name: "f", arguments: "{}" }] },
    { role: "tool", content: "1", toolCallId: "c" },
  ],
  stream: true,
  maxTokens: 3,
  temperature: 0,
  topP: 0.5,
  seed: 0,
  stop: ["x"],
  tools: [{ name: "f", description: "d", parameters: { type: "object" } }, { name: "g" }],
  toolChoice: { name: "f" },
  parallelToolCalls: false,
};
const formatted: JobRequest = {
  messages: [{ role: "user", content: "hi" }],
  stream: false,
  responseFormat: { type: "json_schema", schema: { type: "object" } },
};

it.each([withTools, formatted])(
  "an older agent gets every part of a request that it knows, and can parse it: %j",
  (request) => {
    for (const minor of [0, 1]) {
      expect(olderChat.parse(requestFor(minor, request))).toEqual(request);
      expect(Object.keys(requestFor(minor, request)).sort()).toEqual(Object.keys(request).sort());
    }
    expect(requestFor(2, request)).toBe(request);
  },
);

describe("a schema for an older agent", () => {
  const sent = (schema: Record<string, unknown>): unknown => {
    const request = requestFor(1, { ...formatted, responseFormat: { type: "json_schema", schema } });
    return (
      "responseFormat" in request && request.responseFormat?.type === "json_schema" && request.responseFormat.schema
    );
  };
  const date = { type: "string", format: "date" };
  it.each<[what: string, schema: Record<string, unknown>, older: unknown]>([
    ["a pattern", { type: "string", pattern: "^a{1,3}$" }, { type: "string" }],
    ["a new format", { type: "string", format: "ipv4" }, { type: "string" }],
    ["a known format beside an unknown keyword", { ...date, "x-why": 1 }, date],
    ["a range with a flag", { type: "integer", minimum: 0, exclusiveMinimum: true }, { type: "integer", minimum: 1 }],
    ["a multiple", { type: "number", minimum: 0, multipleOf: 2 }, { type: "number", minimum: 0 }],
    [
      "a tuple",
      { prefixItems: [{ type: "null" }, { type: "boolean" }], items: false },
      { type: "array", items: { anyOf: [{ type: "null" }, { type: "boolean" }] }, minItems: 2, maxItems: 2 },
    ],
    [
      "oneOf and a reference by pointer",
      {
        oneOf: [{ $ref: "#/definitions/a/items" }, { type: "null" }],
        definitions: { a: { items: { type: "boolean" } } },
      },
      { anyOf: [{ $ref: "#/$defs/d0" }, { type: "null" }], $defs: { d0: { type: "boolean" } } },
    ],
    ["an external reference", { $ref: "https://example.com" }, {}],
  ])("has %s in a form that the agent can parse", (_what, schema, older) => expect(sent(schema)).toEqual(older));

  it("is the client's own if the agent can parse it", () => {
    const schema = {
      type: "object",
      description: "d",
      properties: { a: { ...date, title: "t" }, b: { enum: [1], type: "integer" }, c: { $ref: "#/$defs/c" } },
      required: ["a"],
      additionalProperties: false,
      $defs: { c: { anyOf: [{ type: "array", items: { type: "null" }, maxItems: 2 }, { const: 1 }, true] } },
    };
    expect(sent(schema)).toBe(schema);
  });
});

it("a format beside tools that may be called is only for workers that can keep both", () => {
  const both = {
    ...withTools,
    toolChoice: undefined,
    responseFormat: { type: "json_object" },
  } as unknown as JobRequest;
  expect(requirementsOf(both)).toMatchObject([{ minor: 2, param: "response_format" }]);
  expect([withTools, formatted].map((request) => requirementsOf(request))).toEqual([[], []]);
});

const chat: ChatRequest = { messages: [{ role: "user", content: "hi" }], stream: false };
const [older, llama, upstream] = [
  { minor: 1, engine: "llama" },
  { minor: 2, engine: "llama" },
  { minor: 2, engine: "upstream" },
] as const;

it.each<[what: string, request: JobRequest, able: boolean[]]>([
  ["nothing special", chat, [true, true, true]],
  ["a count", { ...chat, countTokens: true }, [false, true, false]],
  ["a top_k", { ...chat, topK: 5 }, [false, true, false]],
  [
    "a description that older agents take",
    { ...chat, tools: [{ name: "f", description: "d".repeat(4_096) }] },
    [true, true, true],
  ],
  ["a longer description", { ...chat, tools: [{ name: "f", description: "d".repeat(4_097) }] }, [false, true, true]],
  ["names that older agents take", { ...chat, tools: [{ name: "f".repeat(64) }] }, [true, true, true]],
  ["a longer name", { ...chat, tools: [{ name: "f".repeat(65) }] }, [false, true, true]],
  [
    "a longer name in an earlier call",
    {
      ...chat,
      messages: [
        ...chat.messages,
        { role: "assistant", content: "", toolCalls: [{ id: "c", name: "f".repeat(65), arguments: "{}" }] },
        { role: "tool", content: "1", toolCallId: "c" },
      ],
    },
    [false, true, true],
  ],
  [
    "as many tools as older agents take",
    { ...chat, tools: Array.from({ length: 128 }, (_, i) => ({ name: `f${i}` })) },
    [true, true, true],
  ],
  ["more tools", { ...chat, tools: Array.from({ length: 129 }, (_, i) => ({ name: `f${i}` })) }, [false, true, true]],
])("which workers can do %s", (_what, request, able) => {
  expect([older, llama, upstream].map((worker) => canMeet(requirementsOf(request), worker))).toEqual(able);
});

it.each([
  ["messages", [true, true, false]],
  ["chat", [true, true, true]],
  ["responses", [true, true, true]],
] as const)("which workers continue an answer that a client of %s began", (dialect, able) => {
  const began: JobRequest = { ...chat, messages: [...chat.messages, { role: "assistant", content: "{" }] };
  expect([older, llama, upstream].map((worker) => canMeet(requirementsOf(began, dialect), worker))).toEqual(able);
});

it("the refusal of a request names what no worker can do, or what no worker can do together with the rest", () => {
  const requirements = requirementsOf({ ...chat, topK: 5, tools: [{ name: "f", description: "d".repeat(5_000) }] });
  expect(unmetRequirement(requirements, [older, llama])).toBeUndefined();
  expect(unmetRequirement(requirements, [older, upstream])).toMatchObject({ param: "top_k" });
  expect(unmetRequirement(requirements, [older])).toMatchObject({ minor: 2 });
  expect(unmetRequirement([], [])).toBeUndefined();
});

it("an older agent gets no member that it does not know", () => {
  const newer = {
    ...withTools,
    unheardOf: 1,
    tools: [{ name: "f", unheardOf: true }],
    responseFormat: { type: "json_schema", schema: {}, unheardOf: "x" },
  } as unknown as JobRequest;
  expect(olderChat.safeParse(newer).success).toBe(false);
  expect(olderChat.safeParse(requestFor(1, newer)).success).toBe(true);
  expect(requestFor(2, newer)).toBe(newer);
});

it.each<JobRequest>([
  { prompt: "p", stream: false },
  { input: ["i"], stream: false },
])("what has not changed since v1 is sent unchanged: %j", (request) => {
  expect(requestFor(0, request)).toBe(request);
});
