/** The rules of a chat request that its shape cannot state: schemas, tools and history that fit together. Pure. */
import type { BodyProblem, ChatCompletionBody } from "./client-api.ts";
import { readJsonSchema } from "./json-schema.ts";
import { LIMITS } from "./limits.ts";

/** Of a chat: schemas that a worker can enforce, calls that are answered, parameters that go together. */
export function chatProblem(body: ChatCompletionBody): BodyProblem | null {
  return toolsProblem(body) ?? formatProblem(body) ?? historyProblem(body.messages);
}

function invalid(param: string, message: string): BodyProblem {
  return { code: "http/invalid-body", param, message };
}

function schemaProblem(schema: unknown, at: string): BodyProblem | null {
  const reading = readJsonSchema(schema);
  if (reading.ok) return null;
  const param = reading.path === "" ? at : `${at}.${reading.path}`;
  const { message, remedy } = reading;
  return remedy === null
    ? { code: "http/invalid-body", param, message }
    : { code: "http/unsupported-parameter", param, message, remedy };
}

function toolsProblem({ tools, tool_choice: choice }: ChatCompletionBody): BodyProblem | null {
  const names = new Set<string>();
  for (const [i, { function: given }] of (tools ?? []).entries()) {
    if (names.has(given.name)) return invalid(`tools.${i}.function.name`, `Two tools are called ${given.name}.`);
    names.add(given.name);
    const problem = given.parameters && schemaProblem(given.parameters, `tools.${i}.function.parameters`);
    if (problem) return problem;
  }
  if (JSON.stringify(tools ?? []).length > LIMITS.toolsBytes) {
    return invalid("tools", `All tools together take at most ${LIMITS.toolsBytes} bytes.`);
  }
  if (typeof choice === "object" && choice !== null && !names.has(choice.function.name)) {
    return invalid("tool_choice", `There is no tool called ${choice.function.name}.`);
  }
  return choice === "required" && names.size === 0
    ? invalid("tool_choice", "There are no tools to choose from.")
    : null;
}

function formatProblem(body: ChatCompletionBody): BodyProblem | null {
  const { response_format: format, tools, tool_choice: choice, stop } = body;
  if (!format || format.type === "text") return null;
  const problem =
    format.type === "json_schema" && schemaProblem(format.json_schema.schema, "response_format.json_schema.schema");
  if (problem) return problem;
  const code = "http/unsupported-parameter";
  if (tools?.length && (choice ?? "auto") === "auto") {
    const message = "A response format beside tools that the model may choose is not supported.";
    return { code, param: "response_format", message, remedy: "Set tool_choice, or leave one of the two out." };
  }
  // It could cut the JSON in two, and what is promised is JSON that parses.
  if (stop?.length)
    return { code, param: "stop", message: "Stop sequences beside a JSON response format are not supported." };
  return null;
}

/** Each call is answered by a message of the role tool before anybody else speaks, and nothing else is. */
function historyProblem(messages: ChatCompletionBody["messages"]): BodyProblem | null {
  const open = new Set<string>();
  const unanswered = (at: number) => {
    const [id] = open;
    return id === undefined ? null : invalid(`messages.${at}`, `The tool call ${id} has no answer.`);
  };
  for (const [i, given] of messages.entries()) {
    if (given.role === "tool") {
      if (!open.delete(given.tool_call_id)) {
        return invalid(`messages.${i}.tool_call_id`, "This answers no tool call of the message before.");
      }
      continue;
    }
    const problem = unanswered(i);
    if (problem) return problem;
    if (given.role !== "assistant") continue;
    const calls = given.tool_calls ?? [];
    // Null is an answer of nothing that is handed back.
    if (calls.length === 0 && given.content === undefined && given.refusal == null)
      return invalid(`messages.${i}.content`, "This message says nothing.");
    for (const { id } of calls) {
      if (open.has(id)) return invalid(`messages.${i}.tool_calls`, `Two calls have the id ${id}.`);
      open.add(id);
    }
  }
  return unanswered(messages.length - 1);
}
