import { parseJson } from "../../../schema/wire/json-text.ts";
import type { ChatRequest } from "../../../schema/wire/worker-frames.ts";
import type { AssembledCall } from "./call-assembler.ts";
import { allMatch, type Check } from "./schema-check.ts";

/**
 * Says how a complete answer violates the request, or returns null if it does not. Do not call it for an answer that was
 * cut by its length or by a filter: such an answer may be incomplete JSON.
 */
export function requestViolation(request: ChatRequest, text: string, calls: readonly AssembledCall[]): string | null {
  const { tools = [], toolChoice, responseFormat } = request;
  if (toolChoice !== undefined && calls.length === 0) {
    return "The upstream server made no tool call, though tool_choice asks for one.";
  }
  const checks: Check[] = [];
  for (const { name, arguments: given } of calls) {
    const value = parseJson(given);
    if (!isObject(value)) return "The upstream server made a tool call whose arguments are not a JSON object.";
    const tool = tools.find((one) => one.name === name);
    if (tool?.strict === true && tool.parameters !== undefined) checks.push([value, tool.parameters]);
  }
  if (!allMatch(checks, { strict: true })) {
    return "The upstream server made a tool call whose arguments do not validate against the tool's strict schema.";
  }
  if (responseFormat === undefined || calls.length > 0) return null;
  const value = parseJson(text);
  if (value === undefined) return "The upstream server's answer is not JSON, though response_format asks for it.";
  if (responseFormat.type === "json_object") {
    return isObject(value) ? null : "The upstream server's answer is not a JSON object, as response_format asks for.";
  }
  return allMatch([[value, responseFormat.schema]], { strict: responseFormat.strict === true })
    ? null
    : "The upstream server's answer does not validate against the schema of response_format.";
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
