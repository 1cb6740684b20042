/** Translates a body of `POST /v1/responses` into a chat, and collects the parameters that its answer repeats. */
import type { BodyProblem, ChatCompletionBody } from "./client-api.ts";
import { toChatRequest } from "./client-request.ts";
import { LIMITS } from "./limits.ts";
import type { ResponsesBody, ResponsesItem } from "./responses-api.ts";
import {
  Conversation,
  commonMembers,
  type ParameterNames,
  type TranslatedChat,
  translatedProblem,
} from "./translated-chat.ts";
import type { ChatRequest } from "./worker-frames.ts";

const NAMES: ParameterNames = {
  messages: "input",
  instructions: "instructions",
  rename: (param) =>
    param.replace(/^(tools\.\d+)\.function/, "$1").replace(/^response_format(\.json_schema)?/, "text.format"),
};

/** The chat request for a worker. */
export function toResponsesRequest(body: ResponsesBody): ChatRequest {
  return toChatRequest(translated(body).chat);
}

/** The rules of a chat, with this API's parameter names. */
export function responsesProblem(body: ResponsesBody): BodyProblem | null {
  const translation = translated(body);
  if (translation.sources.every((source) => source === null)) {
    return {
      code: "http/invalid-body",
      param: "input",
      message: "The input has no content. Send at least one message.",
    };
  }
  return translatedProblem(translation, NAMES);
}

function translated(body: ResponsesBody): TranslatedChat {
  const conversation = new Conversation();
  if (body.instructions) conversation.add({ role: "system", content: body.instructions }, null);
  if (typeof body.input === "string") conversation.add({ role: "user", content: body.input }, 0);
  else for (const [at, item] of body.input.entries()) addItem(conversation, item, at);
  const { tools, tool_choice: choice, parallel_tool_calls } = body;
  const chat: ChatCompletionBody = {
    ...commonMembers(body, conversation),
    parallel_tool_calls,
    max_completion_tokens: body.max_output_tokens,
    response_format: formatOf(body),
    tools: tools?.map(({ type, ...called }) => ({ type, function: called })),
    tool_choice: typeof choice === "object" && choice ? { type: "function", function: { name: choice.name } } : choice,
  };
  return { chat, sources: conversation.sources };
}

function addItem(conversation: Conversation, item: ResponsesItem, at: number): void {
  switch (item.type) {
    case "function_call": {
      const { call_id: id, name, arguments: given } = item;
      const call = { id, type: "function", function: { name, arguments: given } } as const;
      conversation.add({ role: "assistant", content: "", tool_calls: [call] }, at);
      return;
    }
    case "function_call_output":
      conversation.add({ role: "tool", tool_call_id: item.call_id, content: textOf(item.output) }, at);
      return;
    default:
      conversation.add({ role: item.role === "developer" ? "system" : item.role, content: textOf(item.content) }, at);
  }
}

function textOf(content: string | readonly ({ text: string } | { refusal: string })[]): string {
  if (typeof content === "string") return content;
  return content.map((part) => ("text" in part ? part.text : part.refusal)).join("");
}

function formatOf({ text }: ResponsesBody): ChatCompletionBody["response_format"] {
  const format = text?.format;
  if (format?.type !== "json_schema") return format;
  const { type, ...schema } = format;
  return { type, json_schema: schema };
}

/**
 * The parameters of the request that every response object repeats. Long instructions and tools are left out, because
 * the client has its request.
 */
export function responsesEcho(body: ResponsesBody): Record<string, unknown> {
  const { text, tools } = body;
  const short = {
    instructions: null,
    max_output_tokens: body.max_output_tokens ?? null,
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    temperature: body.temperature ?? null,
    text: { format: { type: "text" } },
    tool_choice: body.tool_choice ?? "auto",
    tools: [],
    top_p: body.top_p ?? null,
  };
  const whole = {
    ...short,
    instructions: body.instructions ?? null,
    text: { format: shownFormat(text?.format) },
    tools: (tools ?? []).map((tool) => ({ description: null, parameters: null, strict: null, ...tool })),
  };
  return JSON.stringify(whole).length <= LIMITS.echoedRequestChars ? whole : short;
}

function shownFormat(format: NonNullable<ResponsesBody["text"]>["format"]): object {
  if (!format) return { type: "text" };
  return format.type === "json_schema" ? { description: null, strict: null, ...format } : format;
}
