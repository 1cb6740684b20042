/**
 * What a job asks of a worker, by the worker's protocol version and engine. Frames are strict, so an older agent must
 * not get a member that it does not know. Pure.
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { readJsonSchema, readToolParameters } from "../../../schema/wire/json-schema.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { isPlain } from "../../../schema/wire/plain-keywords.ts";
import { plainSchema } from "../../../schema/wire/plain-schema.ts";
import type { ChatRequest, JobRequest, Manifest } from "../../../schema/wire/worker-frames.ts";
import type { AnswerDialect } from "../formats/answer-format.ts";

interface Able {
  /** Of the worker protocol: 2 for v1.2. */
  readonly minor: number;
  readonly engine: Manifest["engine"];
}

/** What a worker must be able to do, or the answer would be another one; and how to refuse where no worker can. */
export interface Need {
  /** The least minor version of the worker protocol. */
  readonly minor: number;
  /** Absent: any. */
  readonly engine?: Manifest["engine"];
  readonly code: ErrorCode;
  readonly param?: string;
  readonly message?: string;
  readonly remedy?: string;
}

const NONE: readonly Need[] = [];
const LATER = "Leave it out, or try again when another worker is connected.";

const COUNTING: Need = { minor: 2, engine: "llama", code: "inference/cannot-count" };
const TOP_K: Need = {
  minor: 2,
  engine: "llama",
  code: "http/unsupported-parameter",
  param: "top_k",
  message: "No worker that serves this model now picks among the likeliest tokens only.",
  remedy: LATER,
};
const LONG_DESCRIPTION: Need = {
  minor: 2,
  code: "http/unsupported-parameter",
  param: "tools",
  message: `Workers that serve this model now take descriptions of ${LIMITS.olderToolDescriptionChars} characters.`,
  remedy: "Shorten the descriptions of the tools, or try again when another worker is connected.",
};

const LONG_NAME: Need = {
  ...LONG_DESCRIPTION,
  message: `Workers that serve this model now take names of tools of ${LIMITS.olderToolNameChars} characters.`,
  remedy: "Shorten the names of the tools, or try again when another worker is connected.",
};
const MANY_TOOLS: Need = {
  ...LONG_DESCRIPTION,
  message: `Workers that serve this model now take ${LIMITS.olderTools} tools.`,
  remedy: "Send fewer tools, or try again when another worker is connected.",
};
/** Other servers may begin a new answer, and Anthropic's clients expect the rest of theirs. */
const PREFILL: Need = {
  minor: 0,
  engine: "llama",
  code: "http/unsupported-parameter",
  param: "messages",
  message: "The workers of this model hand requests to another server, which may not continue an answer.",
  remedy: "End the conversation with a message of the user.",
};

const FORMAT_BESIDE_TOOLS: Need = {
  minor: 2,
  code: "http/unsupported-parameter",
  param: "response_format",
  message: "The workers of this model are too old for a response format beside tools to choose from.",
  remedy: "Set tool_choice, leave one of the two out, or ask the pool's operator to upgrade a worker.",
};

const LOGPROBS: Need = {
  minor: 2,
  code: "http/unsupported-parameter",
  param: "logprobs",
  message: "No worker that serves this model now tells log probabilities.",
  remedy: LATER,
};
/** llama.cpp's grammars take no part where its raw logits are read. */
const LOGPROBS_UNDER_GRAMMAR: Need = {
  ...LOGPROBS,
  engine: "upstream",
  message: "The workers of this model tell no log probabilities beside tools or a response format.",
  remedy: "Leave one of them out.",
};

/** What not every worker can do; empty where any worker can do all of the request. */
export function needsOf(request: JobRequest, dialect?: AnswerDialect): readonly Need[] {
  if ("input" in request) return NONE;
  const needs: Need[] = [];
  if ("messages" in request) {
    if (request.countTokens) needs.push(COUNTING);
    const chars = LIMITS.olderToolDescriptionChars;
    if (request.tools?.some(({ description = "" }) => description.length > chars)) needs.push(LONG_DESCRIPTION);
    if (hasLongName(request)) needs.push(LONG_NAME);
    if ((request.tools?.length ?? 0) > LIMITS.olderTools) needs.push(MANY_TOOLS);
    if (dialect === "messages" && request.messages.at(-1)?.role === "assistant") needs.push(PREFILL);
    if (request.tools && request.responseFormat && request.toolChoice === undefined) needs.push(FORMAT_BESIDE_TOOLS);
  }
  if (request.topK !== undefined) needs.push(TOP_K);
  if (request.topLogprobs !== undefined) {
    const isConstrained =
      "messages" in request && (request.tools !== undefined || request.responseFormat !== undefined);
    needs.push(isConstrained ? LOGPROBS_UNDER_GRAMMAR : LOGPROBS);
  }
  return needs.length === 0 ? NONE : needs;
}

/** The choice of a tool has the name of one of them. */
function hasLongName({ tools = [], messages }: ChatRequest): boolean {
  const isLong = ({ name }: { name: string }) => name.length > LIMITS.olderToolNameChars;
  return (
    tools.some(isLong) || messages.some((message) => message.role === "assistant" && message.toolCalls?.some(isLong))
  );
}

export function canMeet(needs: readonly Need[], { minor, engine }: Able): boolean {
  return needs.every((need) => minor >= need.minor && (need.engine === undefined || engine === need.engine));
}

/** The need to refuse by, where no worker meets all: one that none of them meets, if there is such a one. */
export function unmetNeed(needs: readonly Need[], workers: readonly Able[]): Need | undefined {
  if (needs.length === 0 || workers.some((worker) => canMeet(needs, worker))) return undefined;
  return needs.find((need) => !workers.some((worker) => canMeet([need], worker))) ?? needs[0];
}

/** The request as a worker of this version gets it: without the members that only say more than it can understand. */
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

/** Older agents fail a job whose schema holds a keyword that they do not know: they get what the pool read of it. */
function olderSchema(schema: Record<string, unknown>, read: typeof readJsonSchema): Record<string, unknown> {
  if (isPlain(schema)) return schema;
  const reading = read(schema);
  return reading.ok ? plainSchema(reading.schema) : schema;
}

/** What is hashed must be what JSON shows: a member that is not said is no member. */
function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, given]) => given !== undefined)) as T;
}
