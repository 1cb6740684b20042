import * as z from "zod";
import { CHAT_PARAMETERS, COMPLETION_PARAMETERS, EMBEDDING_PARAMETERS } from "./api-parameters.ts";
import { failFast } from "./fail-fast.ts";
import { LIMITS } from "./limits.ts";
import { type Members, type Refusal, treat } from "./parameter-table.ts";
import { toolName, unicodeText } from "./worker-frames.ts";

/**
 * The shapes of the used parameters of OpenAI-compatible request bodies. `api-parameters.ts` says how every published
 * parameter is treated: it is used, or has no effect, or is refused by name.
 */
const textPart = z.strictObject({ type: z.literal("text"), text: unicodeText });
export const stopSequence = unicodeText.min(1).max(LIMITS.stopSequenceChars);
/** Text, or parts of text. */
const content = z.union([unicodeText, failFast(z.array(textPart).min(1))]);
const answerPart = z.discriminatedUnion("type", [
  textPart,
  z.strictObject({ type: z.literal("output_text"), text: unicodeText }),
  z.strictObject({ type: z.literal("refusal"), refusal: unicodeText }),
]);
export const callId = unicodeText.min(1).max(LIMITS.toolCallIdChars);
const toolCall = z.strictObject({
  id: callId,
  type: z.literal("function").nullish(),
  function: z.strictObject({ name: toolName, arguments: unicodeText }),
});
const message = z.discriminatedUnion("role", [
  z.strictObject({ role: z.enum(["system", "developer", "user"]), content }),
  z.strictObject({
    role: z.literal("assistant"),
    /** Null for an answer that has only calls, or nothing. */
    content: z.union([unicodeText, failFast(z.array(answerPart))]).nullish(),
    refusal: unicodeText.nullish(),
    tool_calls: failFast(z.array(toolCall).max(LIMITS.toolCallsPerMessage)).nullish(),
  }),
  z.strictObject({
    role: z.literal("tool"),
    /** The result of a tool may be empty. */
    content: z.union([unicodeText, failFast(z.array(textPart))]),
    tool_call_id: callId,
  }),
]);

export const schemaObject = z.record(z.string(), z.unknown());
/** True: a keyword that is not enforced is refused by name. Otherwise it passes (docs/json-schemas.md). */
const strict = z.boolean().nullish();
const responseFormat = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    json_schema: z.strictObject({
      name: unicodeText.min(1).max(64),
      description: unicodeText.max(LIMITS.toolDescriptionChars).nullish(),
      schema: schemaObject,
      strict,
    }),
  }),
]);
const tool = z.strictObject({
  type: z.literal("function"),
  function: z.strictObject({
    name: toolName,
    description: unicodeText.max(LIMITS.toolDescriptionChars).nullish(),
    parameters: schemaObject.nullish(),
    strict,
  }),
});
const toolChoice = z.union([
  z.enum(["none", "auto", "required"]),
  z.strictObject({ type: z.literal("function"), function: z.strictObject({ name: toolName }) }),
]);

export const common = {
  model: unicodeText.min(1).max(LIMITS.modelNameChars).describe("A name from the list of models; auto picks one."),
  temperature: z.number().min(0).max(2).nullish().describe("0 always picks the likeliest token. Default 0.7."),
  top_p: z.number().min(0).max(1).nullish().describe("Default 0.95."),
  seed: z.int().nullish().describe("The same request on the same model file, build and backend gives the same tokens."),
  stop: z
    .union([stopSequence, z.array(stopSequence).max(LIMITS.stopSequences)])
    .nullish()
    .describe("The answer ends before the first of these."),
  stream: z.boolean().nullish().describe("Server-sent events, ending with [DONE]."),
  stream_options: z.strictObject({ include_usage: z.boolean().nullish() }).nullish(),
  n: z
    .int()
    .min(1)
    .max(LIMITS.choicesPerPrompt)
    .nullish()
    .describe(
      "Answers for each prompt, at most 8. Each costs a request and, streamed, a stream. With a seed, answer i has seed + i.",
    ),
};
export const tokenLimit = z
  .int()
  .min(1)
  .max(2 ** 31)
  .nullish()
  .describe("The most tokens of the answer; the context bounds it too.");

export const chatCompletionBody = z.strictObject({
  ...common,
  messages: failFast(z.array(message).min(1).max(LIMITS.messagesPerRequest)),
  max_tokens: tokenLimit,
  max_completion_tokens: tokenLimit,
  response_format: responseFormat
    .nullish()
    .describe(
      "Enforced by grammar: the answer is valid JSON and matches the enforced part of the schema, unless it ends with length.",
    ),
  tools: failFast(z.array(tool).max(LIMITS.tools)).nullish().describe("Functions that the model may call."),
  tool_choice: toolChoice.nullish().describe("Default auto: the model chooses between text and calls."),
  parallel_tool_calls: z.boolean().nullish().describe("False: one call at most."),
  logprobs: z.boolean().nullish().describe("True: the log probability of each token of the answer."),
  top_logprobs: z
    .int()
    .min(0)
    .max(LIMITS.topLogprobs)
    .nullish()
    .describe("With logprobs: the number of likeliest tokens that are returned for each token."),
});
export type MessageBody = z.infer<typeof message>;
export type ChatCompletionBody = z.infer<typeof chatCompletionBody>;

export const completionBody = z.strictObject({
  ...common,
  prompt: z
    .union([unicodeText, z.array(unicodeText).min(1).max(LIMITS.choicesPerRequest)])
    .describe("One text or several. Each has its own answers, in the order of the texts."),
  best_of: z.int().min(1).nullish().describe("1, or the same as n."),
  max_tokens: tokenLimit,
  logprobs: z
    .union([z.literal(false), z.int().min(0).max(LIMITS.completionLogprobs)])
    .nullish()
    .describe("The log probability of each token, and this number of likeliest tokens for it."),
});
export type CompletionBody = z.infer<typeof completionBody>;

export const embeddingBody = z.strictObject({
  model: common.model,
  input: z.union([unicodeText.min(1), failFast(z.array(unicodeText.min(1)).min(1).max(LIMITS.embeddingRequestInputs))]),
  encoding_format: z.enum(["float", "base64"]).nullish().describe("Default float."),
  dimensions: z
    .int()
    .min(1)
    .max(LIMITS.embeddingDimensions)
    .nullish()
    .describe("Accepted only if it is the model's own size. Vectors are not shortened."),
});
export type EmbeddingBody = z.infer<typeof embeddingBody>;

/** A published request: the shape of its used parameters, and the treatment of each parameter. */
export interface ClientApi<T> {
  readonly body: z.ZodType<T>;
  readonly parameters: Members;
}
export const chatApi: ClientApi<ChatCompletionBody> = { body: chatCompletionBody, parameters: CHAT_PARAMETERS };
export const completionApi: ClientApi<CompletionBody> = { body: completionBody, parameters: COMPLETION_PARAMETERS };
export const embeddingApi: ClientApi<EmbeddingBody> = { body: embeddingBody, parameters: EMBEDDING_PARAMETERS };

export type BodyProblem = {
  code: "http/invalid-body" | Refusal["code"];
  param: string | null;
  message?: string;
  /** Replaces the code's own remedy. */
  remedy?: string;
};
export type ParsedBody<T> = { ok: true; body: T } | ({ ok: false } & BodyProblem);

/**
 * Checks a JSON value. Returns the body, or the first problem. The messages of the validator itself are never shown.
 */
export function parseClientBody<T>({ body: schema, parameters }: ClientApi<T>, value: unknown): ParsedBody<T> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { ok: false, code: "http/invalid-body", param: null, message: "The body must be a JSON object." };
  }
  const treated = treat(value, parameters);
  if ("problem" in treated) return { ok: false, ...treated.problem };
  const parsed = schema.safeParse(treated.body);
  if (parsed.success) return { ok: true, body: parsed.data };
  return { ok: false, ...problemOf(parsed.error.issues[0], treated.body) };
}

function problemOf(issue: z.core.$ZodIssue | undefined, body: Record<string, unknown>): BodyProblem {
  const at = issue ? deepest(issue) : undefined;
  if (!at) return { code: "http/invalid-body", param: null };
  const path = at.path.map(String);
  if (at.issue.code === "unrecognized_keys") {
    const param = [...path, at.issue.keys[0] ?? ""].join(".").slice(0, 100);
    return { code: "http/unknown-parameter", param, message: `The parameter ${param} is not known.` };
  }
  const param = path.join(".").slice(0, 100);
  const missing = path.length === 1 && !Object.hasOwn(body, path[0] ?? "");
  return {
    code: "http/invalid-body",
    param,
    message: missing
      ? `The parameter ${param} is required.`
      : `The value of ${param} is not valid: ${expectation(at.issue)}.`,
  };
}

/** In a union, report the problem of the branch that was read furthest: a branch of another type was not meant. */
function deepest(
  issue: z.core.$ZodIssue,
  prefix: PropertyKey[] = [],
): { issue: z.core.$ZodIssue; path: PropertyKey[] } {
  const path = [...prefix, ...issue.path];
  if (issue.code !== "invalid_union") return { issue, path };
  const inner = issue.errors.flatMap((branch) => branch.slice(0, 1)).map((next) => deepest(next, path));
  const isWrongType = ({ issue: { code } }: (typeof inner)[number]) => Number(code === "invalid_type");
  return inner.sort((a, b) => b.path.length - a.path.length || isWrongType(a) - isWrongType(b))[0] ?? { issue, path };
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return `expected ${issue.expected === "int" ? "integer" : issue.expected}`;
    case "too_small":
      return `${issue.inclusive ? "at least" : "more than"} ${amount(issue.minimum, issue.origin)}`;
    case "too_big":
      return `${issue.inclusive ? "at most" : "less than"} ${amount(issue.maximum, issue.origin)}`;
    case "invalid_value":
      return `expected one of ${issue.values.map(String).join(", ")}`;
    // The only pattern in these bodies is that of a tool's name, which has its own message.
    case "invalid_format":
      return issue.message;
    case "invalid_union":
      return "options" in issue && issue.options
        ? `expected one of ${issue.options.map(String).join(", ")}`
        : "it does not have the expected form";
    default:
      return "it does not have the expected form";
  }
}

/** A bound with its unit. */
function amount(bound: number | bigint, origin: string): string {
  const unit = origin === "string" ? " character" : origin === "array" ? " item" : "";
  return `${bound}${unit}${unit !== "" && bound !== 1 ? "s" : ""}`;
}
