import type { ChatRequest } from "../../schema/wire/worker-frames.ts";
import type { AssembledCall } from "./upstream-calls.ts";

/**
 * Pure: what an answer that is over does not keep of what the request promises its client; null where it keeps all. An
 * answer that was cut, by its length or by a filter, promises nothing.
 */
export function disobedience(request: ChatRequest, text: string, calls: readonly AssembledCall[]): string | null {
  const { toolChoice, responseFormat } = request;
  if (toolChoice !== undefined && calls.length === 0) {
    return "The upstream server made no tool call, though tool_choice asks for one.";
  }
  for (const { arguments: given } of calls) {
    const value = parsed(given);
    if (!isObject(value)) return "The upstream server made a tool call whose arguments are not a JSON object.";
  }
  if (responseFormat === undefined || calls.length > 0) return null;
  const value = parsed(text);
  if (value === undefined) return "The upstream server's answer is not JSON, though response_format asks for it.";
  const isKept = responseFormat.type === "json_schema" || isObject(value);
  return isKept ? null : "The upstream server's answer is not a JSON object, as response_format asks for.";
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
