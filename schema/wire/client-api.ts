import * as z from "zod";
import { LIMITS } from "./limits.ts";
import { toolName, unicodeText } from "./worker-frames.ts";

/**
 * The OpenAI-compatible request bodies (SPEC 5.1). What a client sends is either understood, or refused with the
 * parameter's name; nothing is ignored in silence.
 */
const textPart = z.strictObject({ type: z.literal("text"), text: unicodeText });
const stopSequence = unicodeText.min(1).max(LIMITS.stopSequenceChars);
/** Text, or parts of text. */
const content = z.union([unicodeText, z.array(textPart).min(1)]);
const callId = unicodeText.min(1).max(LIMITS.toolCallIdChars);
/** Told apart by nothing here: accepted because SDKs send it. */
const name = z.string().max(64).optional();
const message = z.discriminatedUnion("role", [
  z.strictObject({ role: z.enum(["system", "developer", "user"]), content, name }),
  z.strictObject({
    role: z.literal("assistant"),
    /** May be absent beside `tool_calls`. */
    content: content.nullish(),
    name,
    tool_calls: z
      .array(
        z.strictObject({
          id: callId,
          type: z.literal("function"),
          function: z.strictObject({ name: toolName, arguments: unicodeText }),
        }),
      )
      .max(LIMITS.toolCallsPerMessage)
      .nullish(),
    /** What our own answers carry and clients send back with the next turn: nothing may be in them. */
    refusal: z.null().optional(),
    annotations: z.tuple([]).nullish(),
    audio: z.null().optional(),
    function_call: z.null().optional(),
  }),
  z.strictObject({ role: z.literal("tool"), content, tool_call_id: callId, name }),
]);

const schemaObject = z.record(z.string(), z.unknown());
/** OpenAI's word for what holds here anyway: what is generated validates. */
const strict = z.boolean().nullish();
const responseFormat = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    json_schema: z.strictObject({
      name: z.string().min(1).max(64),
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

const common = {
  model: unicodeText.min(1).max(LIMITS.modelNameChars).describe("A name from the list of models; auto picks one."),
  temperature: z.number().min(0).max(2).nullish().describe("0 always picks the likeliest token. Default 0.7."),
  top_p: z.number().min(0).max(1).nullish().describe("Default 0.95."),
  seed: z.int().nullish().describe("The same request on the same model file, build and backend gives the same tokens."),
  stop: z
    .union([stopSequence, z.array(stopSequence).max(LIMITS.stopSequences)])
    .nullish()
    .describe("The answer ends before the first of these."),
  stream: z.boolean().nullish().describe("Server-sent events, ending with [DONE]."),
  stream_options: z.strictObject({ include_usage: z.boolean().optional() }).nullish(),
  user: z.string().max(LIMITS.userChars).nullish(),
  metadata: z
    .record(z.string().max(LIMITS.metadataKeyChars), z.string().max(LIMITS.metadataValueChars))
    .refine((pairs) => Object.keys(pairs).length <= LIMITS.metadataPairs, `at most ${LIMITS.metadataPairs} pairs`)
    .nullish()
    .describe("Accepted and not kept."),
};
const tokenLimit = z
  .int()
  .min(1)
  .max(2 ** 31)
  .nullish()
  .describe("The most tokens of the answer; the context bounds it too.");

export const chatCompletionBody = z.strictObject({
  ...common,
  messages: z.array(message).min(1).max(LIMITS.messagesPerRequest),
  max_tokens: tokenLimit,
  max_completion_tokens: tokenLimit,
  response_format: responseFormat
    .nullish()
    .describe("Enforced by grammar: the answer parses, and validates, or it ends with length."),
  tools: z.array(tool).max(LIMITS.tools).nullish().describe("Functions that the model may call."),
  tool_choice: toolChoice.nullish().describe("Default auto: the model chooses between text and calls."),
  parallel_tool_calls: z.boolean().nullish().describe("False: one call at most."),
});
export type MessageBody = z.infer<typeof message>;
export type ChatCompletionBody = z.infer<typeof chatCompletionBody>;

export const completionBody = z.strictObject({
  ...common,
  prompt: z.union([unicodeText, z.array(unicodeText).length(1)]),
  max_tokens: tokenLimit,
});
export type CompletionBody = z.infer<typeof completionBody>;

export const embeddingBody = z.strictObject({
  model: common.model,
  input: z.union([unicodeText.min(1), z.array(unicodeText.min(1)).min(1).max(LIMITS.embeddingInputs)]),
  encoding_format: z.enum(["float", "base64"]).nullish().describe("Default float."),
  dimensions: z
    .int()
    .min(1)
    .max(LIMITS.embeddingDimensions)
    .nullish()
    .describe("Taken where it is what the model has; no vector is cut."),
  user: common.user,
});
export type EmbeddingBody = z.infer<typeof embeddingBody>;

/**
 * Parameters of that API that we know and do not do, with the values that ask for nothing: those pass, so that an
 * SDK which spells out its defaults works; any other is refused by name.
 */
const UNSUPPORTED: Readonly<Record<string, readonly unknown[]>> = {
  n: [1],
  best_of: [1],
  logprobs: [false],
  top_logprobs: [0],
  logit_bias: [],
  frequency_penalty: [0],
  presence_penalty: [0],
  echo: [false],
  suffix: [],
  functions: [],
  function_call: ["none", "auto"],
  modalities: [],
  audio: [],
  prediction: [],
  reasoning_effort: [],
  verbosity: [],
  web_search_options: [],
  store: [false],
  service_tier: ["auto", "default"],
  prompt_cache_key: [],
  safety_identifier: [],
};

export type BodyProblem = {
  code: "http/invalid-body" | "http/unsupported-parameter" | "http/unknown-parameter";
  param: string | null;
  message?: string;
  /** What to do next, where the code's own advice is not it. */
  remedy?: string;
};
export type ParsedBody<T> = { ok: true; body: T } | ({ ok: false } & BodyProblem);

/** Bytes of JSON text → a body, or the first thing that is wrong with it. Never a validator's own words. */
export function parseClientBody<T>(schema: z.ZodType<T>, value: unknown): ParsedBody<T> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { ok: false, code: "http/invalid-body", param: null, message: "The body must be a JSON object." };
  }
  // Without a prototype: a member called __proto__ is one more unknown parameter, and obeyed by nobody.
  const body: Record<string, unknown> = Object.create(null);
  for (const [name, given] of Object.entries(value)) {
    const neutral = Object.hasOwn(UNSUPPORTED, name) ? UNSUPPORTED[name] : undefined;
    if (neutral === undefined) {
      body[name] = given;
    } else if (given !== null && !neutral.includes(given) && !isEmpty(given)) {
      return {
        ok: false,
        code: "http/unsupported-parameter",
        param: name,
        message: `The parameter ${name} is not supported.`,
      };
    }
  }
  const parsed = schema.safeParse(body);
  if (parsed.success) return { ok: true, body: parsed.data };
  return { ok: false, ...problemOf(parsed.error.issues[0], body) };
}

function isEmpty(value: unknown): boolean {
  return Array.isArray(value)
    ? value.length === 0
    : typeof value === "object" && value !== null && Object.keys(value).length === 0;
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
  // A part that is well-formed and of a kind we do not take (an image, a JSON format) is unsupported, not malformed.
  const unsupported = unsupportedPart(path, body);
  if (unsupported) return { code: "http/unsupported-parameter", param, ...unsupported };
  const missing = path.length === 1 && !Object.hasOwn(body, path[0] ?? "");
  return {
    code: "http/invalid-body",
    param,
    message: missing
      ? `The parameter ${param} is required.`
      : `The value of ${param} is not valid: ${expectation(at.issue)}.`,
  };
}

/** Inside a union the interesting problem is the one that got furthest; where the type was wrong, another one was meant. */
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

function unsupportedPart(
  path: string[],
  body: Record<string, unknown>,
): Pick<BodyProblem, "message" | "remedy"> | null {
  if (path[0] === "input" && Array.isArray(body.input) && body.input.flat().some(Number.isInteger)) {
    return { message: "Input is text: token ids are not supported.", remedy: "Send the text." };
  }
  let value: unknown = body;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return null;
    value = (value as Record<string, unknown>)[key];
  }
  if (path.at(-1) === "role" && value === "function") {
    return { message: "Messages of the role function are not supported.", remedy: "Use the role tool." };
  }
  if (path.at(-1) !== "type" || typeof value !== "string") return null;
  if (path[0] === "response_format") {
    return { message: "Response formats are text, json_object and json_schema.", remedy: "Use one of them." };
  }
  if (path[0] === "tools" || path[0] === "tool_choice") {
    return { message: "Only tools of the type function are supported.", remedy: "Describe the tool as a function." };
  }
  return path[0] === "messages" ? { message: "Only text parts are supported.", remedy: "Send text parts only." } : null;
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
    case "invalid_union":
      return "options" in issue && issue.options
        ? `expected one of ${issue.options.map(String).join(", ")}`
        : "it does not have the expected form";
    default:
      return "it does not have the expected form";
  }
}

/** A bound, in what it counts. */
function amount(bound: number | bigint, origin: string): string {
  const unit = origin === "string" ? " character" : origin === "array" ? " item" : "";
  return `${bound}${unit}${unit !== "" && bound !== 1 ? "s" : ""}`;
}
