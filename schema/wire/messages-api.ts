import * as z from "zod";
import { type ClientApi, callId, common, schemaObject, stopSequence } from "./client-api.ts";
import { failFast } from "./fail-fast.ts";
import { LIMITS } from "./limits.ts";
import { COUNT_TOKENS_PARAMETERS, MESSAGES_PARAMETERS } from "./messages-parameters.ts";
import { toolName, unicodeText } from "./worker-frames.ts";

/** The shapes of the used parameters of `POST /v1/messages`, which is Anthropic's API. */
const text = z.strictObject({ type: z.literal("text"), text: unicodeText });
const texts = z.union([unicodeText, failFast(z.array(text))]);
const block = z.discriminatedUnion("type", [
  text,
  z.strictObject({ type: z.literal("tool_use"), id: callId, name: toolName, input: schemaObject }),
  z.strictObject({
    type: z.literal("tool_result"),
    tool_use_id: callId,
    content: texts.nullish(),
    is_error: z.boolean().nullish(),
  }),
]);
const turn = z.union([unicodeText, failFast(z.array(block))]);
const message = z.discriminatedUnion("role", [
  z.strictObject({ role: z.enum(["user", "assistant"]), content: turn }),
  z.strictObject({ role: z.literal("system"), content: texts }),
]);
export type MessagesTurn = z.infer<typeof message>;

const tool = z.strictObject({
  type: z.literal("custom").nullish(),
  name: toolName,
  description: unicodeText.max(LIMITS.toolDescriptionChars).nullish(),
  input_schema: schemaObject,
  strict: z.boolean().nullish(),
});
const oneAtATime = { disable_parallel_tool_use: z.boolean().nullish() };
const toolChoice = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("auto"), ...oneAtATime }),
  z.strictObject({ type: z.literal("any"), ...oneAtATime }),
  z.strictObject({ type: z.literal("tool"), name: toolName, ...oneAtATime }),
  z.strictObject({ type: z.literal("none") }),
]);

const counted = {
  model: common.model,
  messages: failFast(z.array(message).min(1).max(LIMITS.messagesPerRequest)),
  system: texts.nullish(),
  tools: failFast(z.array(tool).max(LIMITS.tools)).nullish().describe("Tools that the client runs."),
  tool_choice: toolChoice.nullish().describe("Default auto: the model chooses between text and calls."),
  output_config: z
    .strictObject({ format: z.strictObject({ type: z.literal("json_schema"), schema: schemaObject }).nullish() })
    .nullish()
    .describe("The format of the answer, enforced by grammar."),
};

export const countTokensBody = z.strictObject(counted);
export type CountTokensBody = z.infer<typeof countTokensBody>;

export const messagesBody = z.strictObject({
  ...counted,
  max_tokens: z
    .int()
    .min(1)
    .max(2 ** 31)
    .describe("The most tokens of the answer; the context bounds it too."),
  stop_sequences: z
    .array(stopSequence)
    .max(LIMITS.stopSequences)
    .nullish()
    .describe("The answer ends before the first of these."),
  stream: z.boolean().nullish().describe("Server-sent events, ending with message_stop."),
  temperature: z.number().min(0).max(1).nullish().describe("0 always picks the likeliest token. Default 0.7."),
  top_p: common.top_p,
  top_k: z.int().min(1).max(LIMITS.topK).nullish().describe("The model picks from this number of likeliest tokens."),
});
export type MessagesBody = z.infer<typeof messagesBody>;

export const messagesApi: ClientApi<MessagesBody> = { body: messagesBody, parameters: MESSAGES_PARAMETERS };
export const countTokensApi: ClientApi<CountTokensBody> = {
  body: countTokensBody,
  parameters: COUNT_TOKENS_PARAMETERS,
};
