import { readJsonSchema, readToolParameters } from "../../schema/wire/json-schema.ts";
import { measureJson } from "../../schema/wire/json-size.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { ChatRequest } from "../../schema/wire/worker-frames.ts";
import { matchesSchema } from "./schema-check.ts";
import type { AssembledCall } from "./upstream-calls.ts";

/**
 * Pure: what an answer that is over does not keep of what the request promises its client; null where it keeps all. An
 * answer that was cut, by its length or by a filter, promises nothing.
 */
export function disobedience(request: ChatRequest, text: string, calls: readonly AssembledCall[]): string | null {
  const { tools = [], toolChoice, responseFormat } = request;
  if (toolChoice !== undefined && calls.length === 0) {
    return "The upstream server made no tool call, though tool_choice asks for one.";
  }
  for (const { name, arguments: given } of calls) {
    const value = parsed(given);
    if (!isObject(value)) return "The upstream server made a tool call whose arguments are not a JSON object.";
    const tool = tools.find((one) => one.name === name);
    if (tool?.strict === true && !keepsTo(value, tool.parameters, readToolParameters)) {
      return "The upstream server made a tool call whose arguments do not validate against the tool's strict schema.";
    }
  }
  if (responseFormat === undefined || calls.length > 0) return null;
  const value = parsed(text);
  if (value === undefined) return "The upstream server's answer is not JSON, though response_format asks for it.";
  if (responseFormat.type === "json_object") {
    return isObject(value) ? null : "The upstream server's answer is not a JSON object, as response_format asks for.";
  }
  return keepsTo(value, responseFormat.schema, readJsonSchema)
    ? null
    : "The upstream server's answer does not validate against the schema of response_format.";
}

/** Pure: a schema that cannot be read here was passed on by a pool that knows more, and is not checked. */
function keepsTo(value: unknown, schema: unknown, read: typeof readJsonSchema): boolean {
  const size = { bytes: LIMITS.schemaBytes, depth: LIMITS.schemaDepth };
  if (schema === undefined || !measureJson(schema, size).ok) return true;
  const reading = read(schema);
  return !reading.ok || matchesSchema(value, reading.schema);
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
