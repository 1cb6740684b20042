import * as z from "zod";

/** Answers of `/v1/responses`, for its OpenAPI document and for tests. `responses-format.ts` writes them. */
const status = z.enum(["in_progress", "completed", "incomplete"]);
const textPart = z.strictObject({
  type: z.literal("output_text"),
  text: z.string(),
  annotations: z.tuple([]),
  logprobs: z.tuple([]),
});
const item = z.discriminatedUnion("type", [
  z.strictObject({
    id: z.string(),
    type: z.literal("message"),
    status,
    role: z.literal("assistant"),
    content: z.array(textPart).max(1),
  }),
  z.strictObject({
    id: z.string(),
    type: z.literal("function_call"),
    status,
    call_id: z.string().describe("The id that the function's output must name."),
    name: z.string(),
    arguments: z.string().describe("JSON text."),
  }),
]);
const count = z.int().nonnegative();

export const responsesAnswer = z.strictObject({
  id: z.string().describe("Ends in the job's id."),
  object: z.literal("response"),
  created_at: count.describe("Unix time in seconds."),
  status: z.enum(["in_progress", "completed", "incomplete", "failed"]),
  background: z.literal(false),
  error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
  incomplete_details: z.strictObject({ reason: z.enum(["max_output_tokens", "content_filter"]) }).nullable(),
  instructions: z
    .string()
    .nullable()
    .describe("As in the request. If instructions and tools are long, this is null and tools is empty."),
  max_output_tokens: z.int().nullable(),
  metadata: z.strictObject({}),
  model: z.string(),
  output: z.array(item),
  parallel_tool_calls: z.boolean(),
  previous_response_id: z.null(),
  reasoning: z.strictObject({ effort: z.null(), summary: z.null() }),
  service_tier: z.literal("default"),
  store: z.literal(false),
  temperature: z.number().nullable(),
  text: z.strictObject({ format: z.record(z.string(), z.unknown()) }),
  tool_choice: z.union([z.string(), z.record(z.string(), z.unknown())]),
  tools: z.array(z.record(z.string(), z.unknown())),
  top_p: z.number().nullable(),
  truncation: z.literal("disabled"),
  usage: z
    .strictObject({
      input_tokens: count,
      input_tokens_details: z.strictObject({ cached_tokens: count, cache_write_tokens: count }),
      output_tokens: count,
      output_tokens_details: z.strictObject({ reasoning_tokens: count }),
      total_tokens: count,
    })
    .nullable()
    .describe("Null until the response has ended."),
});

const inItem = { item_id: z.string(), output_index: count };
const inText = { ...inItem, content_index: z.literal(0) };
const event = <const T extends string, M extends z.ZodRawShape>(types: readonly [T, ...T[]], members: M) =>
  z.strictObject({ type: z.enum(types), sequence_number: count, ...members });

export const responsesEvent = z.union([
  event(["response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed"], {
    response: responsesAnswer,
  }),
  event(["response.output_item.added", "response.output_item.done"], { output_index: count, item }),
  event(["response.content_part.added", "response.content_part.done"], { ...inText, part: textPart }),
  event(["response.output_text.delta"], { ...inText, delta: z.string(), logprobs: z.tuple([]) }),
  event(["response.output_text.done"], { ...inText, text: z.string(), logprobs: z.tuple([]) }),
  event(["response.function_call_arguments.delta"], { ...inItem, delta: z.string() }),
  event(["response.function_call_arguments.done"], { ...inItem, name: z.string(), arguments: z.string() }),
]);
