/** The rules of a chat request that its shape cannot state: schemas, tools and history must fit together. */
import type { BodyProblem, ChatCompletionBody } from "./client-api.ts";
import { readJsonSchema, readToolParameters, type SchemaReading } from "./json-schema/json-schema.ts";
import { measureJson } from "./json-schema/json-size.ts";
import { SchemaBudget } from "./json-schema/schema-budget.ts";
import { LIMITS } from "./limits.ts";
import { utf8Bytes } from "./utf8.ts";

/**
 * The first problem of a chat request; null if there is none. A chat needs schemas that a worker can enforce, a result
 * for each call, and parameters that fit together.
 */
export function chatProblem(body: ChatCompletionBody): BodyProblem | null {
  // Check sizes before the work that depends on them, and do the most expensive work last.
  return (
    logprobsProblem(body) ??
    toolsProblem(body) ??
    formatProblem(body) ??
    historyProblem(body.messages) ??
    schemasProblem(body)
  );
}

function invalid(param: string, message: string): BodyProblem {
  return { code: "http/invalid-body", param, message };
}

function logprobsProblem({ logprobs, top_logprobs: top }: ChatCompletionBody): BodyProblem | null {
  return top && !logprobs ? invalid("top_logprobs", "top_logprobs needs logprobs: true.") : null;
}

/** Checks the tools' names and sizes, and that the chosen tool exists. */
function toolsProblem({ tools, tool_choice: choice }: ChatCompletionBody): BodyProblem | null {
  const names = new Set<string>();
  let bytes = 0;
  for (const [i, { function: given }] of (tools ?? []).entries()) {
    if (names.has(given.name))
      return invalid(`tools.${i}.function.name`, `Two tools have the name ${given.name}. Give each tool its own name.`);
    names.add(given.name);
    const size = schemaSize(given.parameters ?? {}, `tools.${i}.function.parameters`);
    if (typeof size !== "number") return size;
    bytes += size + given.name.length + utf8Bytes(given.description ?? "");
    if (bytes > LIMITS.toolsBytes)
      return invalid("tools", `All tools together take at most ${LIMITS.toolsBytes} bytes.`);
  }
  if (typeof choice === "object" && choice !== null && !names.has(choice.function.name)) {
    return invalid("tool_choice", `There is no tool with the name ${choice.function.name}. Name one of the tools.`);
  }
  return choice === "required" && names.size === 0
    ? invalid("tool_choice", "The request has a tool choice but no tools. Send tools, or leave the choice out.")
    : null;
}

function formatProblem({ response_format: format, stop }: ChatCompletionBody): BodyProblem | null {
  if (!format || format.type === "text") return null;
  if (format.type === "json_schema") {
    const size = schemaSize(format.json_schema.schema, FORMAT_PARAM);
    if (typeof size !== "number") return size;
  }
  if (!stop?.length) return null;
  // A stop sequence could cut the JSON, but the answer must parse.
  const message = "Stop sequences beside a JSON response format are not supported.";
  return { code: "http/unsupported-parameter", param: "stop", message };
}

const FORMAT_PARAM = "response_format.json_schema.schema";

/** The size in bytes, or the problem. */
function schemaSize(schema: unknown, param: string): number | BodyProblem {
  const size = measureJson(schema, { bytes: LIMITS.schemaBytes, depth: LIMITS.schemaDepth });
  if (size.ok) return size.bytes;
  switch (size.problem) {
    case "deep":
      return invalid(param, `The schema is nested deeper than ${LIMITS.schemaDepth} levels.`);
    case "large":
      return invalid(param, `The schema is larger than ${LIMITS.schemaBytes} bytes.`);
    case "no-json":
      return invalid(param, "The schema holds text that is not Unicode, or a number that is too large.");
    default:
      return size.problem satisfies never;
  }
}

/** All schemas of a request share one budget, in the order in which a worker reads them: tools, then the format. */
function schemasProblem({
  tools,
  tool_choice: choice,
  response_format: format,
}: ChatCompletionBody): BodyProblem | null {
  const budget = new SchemaBudget();
  // Tools that may not be called are not sent to a worker.
  for (const [i, { function: given }] of choice === "none" ? [] : (tools ?? []).entries()) {
    const reading = readToolParameters(given.parameters, { strict: given.strict === true, budget });
    const problem = readingProblem(reading, `tools.${i}.function.parameters`, "tools");
    if (problem) return problem;
  }
  if (format?.type !== "json_schema") return null;
  const { schema, strict } = format.json_schema;
  const reading = readJsonSchema(schema, { strict: strict === true, budget });
  return readingProblem(reading, FORMAT_PARAM, "response_format");
}

function readingProblem(reading: SchemaReading, at: string, whole: string): BodyProblem | null {
  if (reading.ok) return null;
  const { path, message, remedy, overBudget } = reading;
  if (overBudget) return invalid(whole, message);
  const param = path === "" ? at : `${at}.${path}`;
  return remedy === null ? invalid(param, message) : { code: "http/unsupported-parameter", param, message, remedy };
}

/** Each call needs a message of the role tool before any other message, and a tool message needs a call. */
function historyProblem(messages: ChatCompletionBody["messages"]): BodyProblem | null {
  const open = new Set<string>();
  const unanswered = (at: number) => {
    const [id] = open;
    return id === undefined
      ? null
      : invalid(`messages.${at}`, `The tool call ${id} has no result. Send its result in a message of the role tool.`);
  };
  for (const [i, given] of messages.entries()) {
    if (given.role === "tool") {
      if (!open.delete(given.tool_call_id)) {
        return invalid(`messages.${i}.tool_call_id`, "The previous assistant message has no tool call with this id.");
      }
      continue;
    }
    const problem = unanswered(i);
    if (problem) return problem;
    if (given.role !== "assistant") continue;
    const calls = given.tool_calls ?? [];
    // In the history, a message without content is an empty answer, or an answer with reasoning only. As the last
    // message it has no text to continue.
    const isLast = i === messages.length - 1;
    if (isLast && calls.length === 0 && given.content === undefined && given.refusal == null)
      return invalid(`messages.${i}.content`, "This message has no content. Send text, or leave the message out.");
    for (const { id } of calls) {
      if (open.has(id))
        return invalid(`messages.${i}.tool_calls`, `Two tool calls have the id ${id}. Give each call its own id.`);
      open.add(id);
    }
  }
  return unanswered(messages.length - 1);
}
