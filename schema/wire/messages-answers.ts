import * as z from "zod";

/** Answers of `/v1/messages`, for its OpenAPI document and for tests. `messages-format.ts` writes them. */
const count = z.int().nonnegative();
const block = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text"), text: z.string(), citations: z.null() }),
  z.strictObject({
    type: z.literal("tool_use"),
    id: z.string(),
    name: z.string(),
    input: z.record(z.string(), z.unknown()),
    caller: z.strictObject({ type: z.literal("direct") }),
  }),
]);
const stopped = {
  stop_reason: z.enum(["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]).nullable(),
  stop_sequence: z.string().nullable().describe("The stop sequence that ended the answer, if the worker reports it."),
  stop_details: z.null(),
  container: z.null(),
};
const usage = z.strictObject({
  input_tokens: count,
  output_tokens: count,
  output_tokens_details: z.strictObject({ thinking_tokens: count }).nullable(),
  cache_creation: z.null(),
  cache_creation_input_tokens: z.literal(0),
  cache_read_input_tokens: z.literal(0),
  inference_geo: z.null(),
  server_tool_use: z.null(),
  service_tier: z.literal("standard"),
  speed: z.null(),
});

export const messagesAnswer = z.strictObject({
  id: z.string().describe("Ends in the job's id."),
  type: z.literal("message"),
  role: z.literal("assistant"),
  model: z.string(),
  content: z.array(block),
  ...stopped,
  diagnostics: z.null(),
  usage,
});

export const messagesErrorAnswer = z.strictObject({
  type: z.literal("error"),
  error: z.strictObject({
    type: z.string(),
    message: z.string().describe("What happened, and what to do."),
    details: z.strictObject({ error_code: z.string(), param: z.string().optional() }),
  }),
  request_id: z.string(),
});

const index = count.describe("Of the block.");
export const messagesEvent = z.union([
  z.strictObject({ type: z.literal("message_start"), message: messagesAnswer }),
  z.strictObject({ type: z.literal("content_block_start"), index, content_block: block }),
  z.strictObject({
    type: z.literal("content_block_delta"),
    index,
    delta: z.discriminatedUnion("type", [
      z.strictObject({ type: z.literal("text_delta"), text: z.string() }),
      z.strictObject({ type: z.literal("input_json_delta"), partial_json: z.string() }),
    ]),
  }),
  z.strictObject({ type: z.literal("content_block_stop"), index }),
  z.strictObject({ type: z.literal("message_delta"), delta: z.strictObject(stopped), usage }),
  z.strictObject({ type: z.enum(["message_stop", "ping"]) }),
  messagesErrorAnswer,
]);

export const countTokensAnswer = z.strictObject({
  input_tokens: count.describe("The tokens of the prompt, by a worker's tokenizer and chat template."),
});
