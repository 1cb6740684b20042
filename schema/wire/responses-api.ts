import * as z from "zod";
import { type ClientApi, callId, common, schemaObject, tokenLimit } from "./client-api.ts";
import { failFast } from "./fail-fast.ts";
import { LIMITS } from "./limits.ts";
import { RESPONSES_PARAMETERS } from "./responses-parameters.ts";
import { toolName, unicodeText } from "./worker-frames.ts";

/** The shapes of the used parameters of `POST /v1/responses`. */
const inputText = z.strictObject({ type: z.literal("input_text"), text: unicodeText });
const part = z.discriminatedUnion("type", [
  inputText,
  z.strictObject({ type: z.literal("output_text"), text: unicodeText }),
  z.strictObject({ type: z.literal("refusal"), refusal: unicodeText }),
]);
const item = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("message").optional(),
    role: z.enum(["user", "assistant", "system", "developer"]),
    content: z.union([unicodeText, failFast(z.array(part))]),
  }),
  z.strictObject({ type: z.literal("function_call"), call_id: callId, name: toolName, arguments: unicodeText }),
  z.strictObject({
    type: z.literal("function_call_output"),
    call_id: callId,
    output: z.union([unicodeText, failFast(z.array(inputText))]),
  }),
]);
export type ResponsesItem = z.infer<typeof item>;

const format = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    name: z.string().min(1).max(64),
    description: unicodeText.max(LIMITS.toolDescriptionChars).nullish(),
    schema: schemaObject,
    strict: z.boolean().nullish(),
  }),
]);
const tool = z.strictObject({
  type: z.literal("function"),
  name: toolName,
  description: unicodeText.max(LIMITS.toolDescriptionChars).nullish(),
  parameters: schemaObject.nullish(),
  strict: z.boolean().nullish(),
});

export const responsesBody = z.strictObject({
  model: common.model,
  input: z
    .union([unicodeText, failFast(z.array(item).max(LIMITS.messagesPerRequest))])
    .describe("The whole conversation. The pool stores no part of it."),
  instructions: unicodeText.nullish().describe("The first system message."),
  max_output_tokens: tokenLimit,
  temperature: common.temperature,
  top_p: common.top_p,
  stream: z.boolean().nullish().describe("Server-sent events, in the order that the API publishes."),
  stream_options: z.strictObject({}).nullish(),
  text: z
    .strictObject({ format: format.nullish() })
    .nullish()
    .describe("The format of the answer, enforced by grammar."),
  tools: failFast(z.array(tool).max(LIMITS.tools)).nullish().describe("Functions that the model may call."),
  tool_choice: z
    .union([z.enum(["none", "auto", "required"]), z.strictObject({ type: z.literal("function"), name: toolName })])
    .nullish()
    .describe("Default auto: the model chooses between text and calls."),
  parallel_tool_calls: z.boolean().nullish().describe("False: one call at most."),
  include: failFast(z.array(z.string()).max(LIMITS.includes)).nullish(),
});
export type ResponsesBody = z.infer<typeof responsesBody>;

export const responsesApi: ClientApi<ResponsesBody> = { body: responsesBody, parameters: RESPONSES_PARAMETERS };
