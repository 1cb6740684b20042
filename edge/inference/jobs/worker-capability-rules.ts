/**
 * Decides what a request requires of a worker's protocol version and engine, and reduces a request to what an older
 * worker may get. Frames are strict, so an agent must not get a member that its version does not know.
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { readJsonSchema, readToolParameters } from "../../../schema/wire/json-schema/json-schema.ts";
import { isPlain } from "../../../schema/wire/json-schema/plain-keywords.ts";
import { plainSchema } from "../../../schema/wire/json-schema/plain-schema.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { ChatRequest, JobRequest, Manifest } from "../../../schema/wire/worker-frames.ts";
import type { AnswerDialect } from "../formats/answer-format.ts";

interface Capabilities {
  /** The minor version of the worker protocol: 2 for v1.2. */
  readonly minor: number;
  readonly engine: Manifest["engine"];
}

/**
 * Something that a worker must support, because the answer would differ otherwise; and the refusal if no worker
 * supports it.
 */
export interface Requirement {
  /** The lowest minor version of the worker protocol. */
  readonly minor: number;
  /** Absent: any engine. */
  readonly engine?: Manifest["engine"];
  readonly code: ErrorCode;
  readonly param?: string;
  readonly message?: string;
  readonly remedy?: string;
}

const NONE: readonly Requirement[] = [];
const LATER = "Leave it out, or try again when another worker is connected.";

const COUNTING: Requirement = { minor: 2, engine: "llama", code: "inference/cannot-count" };
const TOP_K: Requirement = {
  minor: 2,
  engine: "llama",
  code: "http/unsupported-parameter",
  param: "top_k",
  message: "No worker that serves this model now supports top_k.",
  remedy: LATER,
};
const LONG_DESCRIPTION: Requirement = {
  minor: 2,
  code: "http/unsupported-parameter",
  param: "tools",
  message: `The workers that serve this model now take tool descriptions of at most ${LIMITS.olderToolDescriptionChars} characters.`,
  remedy: "Shorten the tool descriptions, or try again when another worker is connected.",
};

const LONG_NAME: Requirement = {
  ...LONG_DESCRIPTION,
  message: `The workers that serve this model now take tool names of at most ${LIMITS.olderToolNameChars} characters.`,
  remedy: "Shorten the tool names, or try again when another worker is connected.",
};
const MANY_TOOLS: Requirement = {
  ...LONG_DESCRIPTION,
  message: `The workers that serve this model now take at most ${LIMITS.olderTools} tools.`,
  remedy: "Send fewer tools, or try again when another worker is connected.",
};
/**
 * Anthropic's clients end a conversation with the beginning of the answer and expect its continuation. Other servers
 * may start a new answer.
 */
const PREFILL: Requirement = {
  minor: 0,
  engine: "llama",
  code: "http/unsupported-parameter",
  param: "messages",
  message: "The workers of this model pass requests to another server, which may not continue an answer.",
  remedy: "End the conversation with a user message.",
};

const FORMAT_BESIDE_TOOLS: Requirement = {
  minor: 2,
  code: "http/unsupported-parameter",
  param: "response_format",
  message: "The workers of this model are too old to combine tools with a response format.",
  remedy: "Set tool_choice, leave out one of the two, or ask the pool's operator to upgrade a worker.",
};

const LOGPROBS: Requirement = {
  minor: 2,
  code: "http/unsupported-parameter",
  param: "logprobs",
  message: "No worker that serves this model now returns log probabilities.",
  remedy: LATER,
};
/** llama.cpp does not apply a grammar to the raw logits that log probabilities are read from. */
const LOGPROBS_UNDER_GRAMMAR: Requirement = {
  ...LOGPROBS,
  engine: "upstream",
  message: "The workers of this model do not return log probabilities together with tools or a response format.",
  remedy: "Leave out one of them.",
};

/** The requirements of a request; empty if every worker can serve it. */
export function requirementsOf(request: JobRequest, dialect?: AnswerDialect): readonly Requirement[] {
  if ("input" in request) return NONE;
  const requirements: Requirement[] = [];
  if ("messages" in request) {
    if (request.countTokens) requirements.push(COUNTING);
    const chars = LIMITS.olderToolDescriptionChars;
    if (request.tools?.some(({ description = "" }) => description.length > chars)) requirements.push(LONG_DESCRIPTION);
    if (hasLongName(request)) requirements.push(LONG_NAME);
    if ((request.tools?.length ?? 0) > LIMITS.olderTools) requirements.push(MANY_TOOLS);
    if (dialect === "messages" && request.messages.at(-1)?.role === "assistant") requirements.push(PREFILL);
    if (request.tools && request.responseFormat && request.toolChoice === undefined)
      requirements.push(FORMAT_BESIDE_TOOLS);
  }
  if (request.topK !== undefined) requirements.push(TOP_K);
  if (request.topLogprobs !== undefined) {
    const isConstrained =
      "messages" in request && (request.tools !== undefined || request.responseFormat !== undefined);
    requirements.push(isConstrained ? LOGPROBS_UNDER_GRAMMAR : LOGPROBS);
  }
  return requirements.length === 0 ? NONE : requirements;
}

/** `toolChoice` needs no check: it names one of the tools. */
function hasLongName({ tools = [], messages }: ChatRequest): boolean {
  const isLong = ({ name }: { name: string }) => name.length > LIMITS.olderToolNameChars;
  return (
    tools.some(isLong) || messages.some((message) => message.role === "assistant" && message.toolCalls?.some(isLong))
  );
}

/** Whether a worker with these capabilities meets all requirements. */
export function canMeet(requirements: readonly Requirement[], { minor, engine }: Capabilities): boolean {
  return requirements.every((each) => minor >= each.minor && (each.engine === undefined || engine === each.engine));
}

/**
 * The requirement that the refusal names, if no worker meets all: if possible, a requirement that no worker meets.
 * Undefined if one worker meets all.
 */
export function unmetRequirement(
  requirements: readonly Requirement[],
  workers: readonly Capabilities[],
): Requirement | undefined {
  if (requirements.length === 0 || workers.some((worker) => canMeet(requirements, worker))) return undefined;
  return requirements.find((each) => !workers.some((worker) => canMeet([each], worker))) ?? requirements[0];
}

/** The request without the members that a worker of this version does not know and can do without. */
export function requestFor(minor: number, request: JobRequest): JobRequest {
  if (minor >= 2 || !("messages" in request)) return request;
  const { messages, maxTokens, temperature, topP, seed, stop, stream, toolChoice, parallelToolCalls } = request;
  const { responseFormat: format, tools } = request;
  const responseFormat =
    format?.type === "json_schema" ? { type: format.type, schema: olderSchema(format.schema, readJsonSchema) } : format;
  const known = { messages, maxTokens, temperature, topP, seed, stop, stream, toolChoice, parallelToolCalls };
  return withoutUndefined({
    ...known,
    responseFormat,
    tools: tools?.map(({ name, description, parameters }) =>
      withoutUndefined({ name, description, parameters: parameters && olderSchema(parameters, readToolParameters) }),
    ),
  });
}

/**
 * The schema in the form that older agents accept. They fail a job whose schema has a keyword that they do not know.
 */
function olderSchema(schema: Record<string, unknown>, read: typeof readJsonSchema): Record<string, unknown> {
  if (isPlain(schema)) return schema;
  const reading = read(schema);
  return reading.ok ? plainSchema(reading.schema) : schema;
}

/**
 * Removes members that are undefined: the hash of the request must equal the hash of its JSON, which does not have
 * them.
 */
function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, given]) => given !== undefined)) as T;
}
