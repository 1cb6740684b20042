import { expect, it } from "vitest";
import * as z from "zod";
import { requestFor } from "../../../edge/inference/worker-request.ts";
import type { JobRequest } from "../../../schema/wire/worker-frames.ts";

/** The request of a chat as agents of v1 and v1.1 read it, kept here as it was: their strict shapes cannot change. */
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

const said: JobRequest = {
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

it.each([said, formatted])("an older agent gets all that it knows of a request, and reads it: %j", (request) => {
  for (const minor of [0, 1]) {
    expect(olderChat.parse(requestFor(minor, request))).toEqual(request);
    expect(Object.keys(requestFor(minor, request)).sort()).toEqual(Object.keys(request).sort());
  }
  expect(requestFor(2, request)).toBe(request);
});

it("an older agent gets no member that it does not know", () => {
  const newer = {
    ...said,
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
])("what has not changed since v1 is passed on as it is: %j", (request) => {
  expect(requestFor(0, request)).toBe(request);
});
