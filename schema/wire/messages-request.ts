/** Translates a body of `POST /v1/messages` into a chat. */
import type { BodyProblem, ChatCompletionBody } from "./client-api.ts";
import { toChatRequest } from "./client-request.ts";
import type { CountTokensBody, MessagesBody, MessagesTurn } from "./messages-api.ts";
import {
  Conversation,
  commonMembers,
  type ParameterNames,
  paragraphs,
  type TranslatedChat,
  type Turn,
  translatedProblem,
} from "./translated-chat.ts";
import type { ChatRequest } from "./worker-frames.ts";

const NAMES: ParameterNames = {
  messages: "messages",
  instructions: "system",
  rename: (param) =>
    param
      .replace(/^(tools\.\d+)\.function\.parameters/, "$1.input_schema")
      .replace(/^(tools\.\d+)\.function/, "$1")
      .replace(/^response_format(\.json_schema)?/, "output_config.format")
      .replace(/^stop\b/, "stop_sequences"),
};

type AnyBody = CountTokensBody & Partial<MessagesBody>;

/** The chat request for a worker. */
export function toMessagesRequest(body: MessagesBody): ChatRequest {
  return { ...toChatRequest(translated(body).chat), ...(body.top_k != null && { topK: body.top_k }) };
}

/** The request that only counts the tokens of the prompt. */
export function toCountRequest(body: CountTokensBody): ChatRequest {
  return { ...toChatRequest(translated(body, COUNTED).chat), countTokens: true };
}

/** The rules of a chat, with this API's parameter names, and this API's own rules. */
export function messagesProblem(body: MessagesBody): BodyProblem | null {
  return turnsProblem(body.messages) ?? prefillProblem(body) ?? translatedProblem(translated(body), NAMES);
}

/** Counting tokens continues nothing, so the conversation may end with any message. */
export function countProblem(body: CountTokensBody): BodyProblem | null {
  return turnsProblem(body.messages) ?? translatedProblem(translated(body, COUNTED), NAMES);
}

function turnsProblem(turns: readonly MessagesTurn[]): BodyProblem | null {
  for (const [at, { role, content }] of turns.entries()) {
    if (typeof content === "string") continue;
    const misplaced = role === "user" ? "tool_use" : "tool_result";
    const i = content.findIndex(({ type }) => type === misplaced);
    if (i < 0) continue;
    const message = `A message of the role ${role} cannot contain a block of the type ${misplaced}.`;
    return { code: "http/invalid-body", param: `messages.${at}.content.${i}`, message };
  }
  return null;
}

/**
 * A final assistant message is continued, as in a chat. With a response format that is impossible, because the grammar
 * covers only whole answers.
 */
function prefillProblem({ messages, output_config: output }: MessagesBody): BodyProblem | null {
  const last = messages.length - 1;
  if (messages[last]?.role !== "assistant" || !output?.format) return null;
  return {
    code: "http/unsupported-parameter",
    param: `messages.${last}`,
    message: "With output_config.format, the pool cannot continue a message of the assistant.",
    remedy: "Leave output_config.format out, or end the conversation with a message of the user.",
  };
}

const COUNTED = { answersAllCalls: true } as const;

/**
 * @param answersAllCalls whether each call without a result gets an empty one, because templates do not support such
 * calls
 */
function translated(body: AnyBody, { answersAllCalls = false } = {}): TranslatedChat {
  const conversation = new Conversation();
  const system = textOf(body.system ?? "");
  if (system !== "") conversation.add({ role: "system", content: system }, null);
  for (const [at, turn] of body.messages.entries()) {
    for (const message of messagesOf(turn)) conversation.add(message, at);
  }
  for (const id of answersAllCalls ? conversation.unanswered : []) {
    conversation.add({ role: "tool", content: "", tool_call_id: id }, body.messages.length - 1);
  }
  const { tools, tool_choice: choice, output_config: output } = body;
  const chat: ChatCompletionBody = {
    ...commonMembers(body, conversation),
    max_completion_tokens: body.max_tokens,
    ...(body.stop_sequences?.length && { stop: body.stop_sequences }),
    tools: tools?.map(({ name, description, input_schema: parameters, strict }) => ({
      type: "function",
      function: { name, description, parameters, strict },
    })),
    tool_choice: toolChoiceOf(choice),
    parallel_tool_calls: choice && choice.type !== "none" && choice.disable_parallel_tool_use ? false : undefined,
    response_format: output?.format && {
      type: "json_schema",
      json_schema: { name: "answer", schema: output.format.schema, strict: true },
    },
  };
  return { chat, sources: conversation.sources };
}

function toolChoiceOf(choice: AnyBody["tool_choice"]): ChatCompletionBody["tool_choice"] {
  switch (choice?.type) {
    case "any":
      return "required";
    case "tool":
      return { type: "function", function: { name: choice.name } };
    case "none":
      return "none";
    default:
      return undefined;
  }
}

/** In a chat, tool results are separate messages. They come before the user's own text. */
function messagesOf({ role, content }: MessagesTurn): Turn[] {
  if (typeof content === "string") return [{ role, content }];
  const text = textOf(content.flatMap((block) => (block.type === "text" ? [block] : [])));
  if (role === "system") return [{ role, content: text }];
  if (role === "assistant") {
    const calls = content.flatMap((block) =>
      block.type === "tool_use"
        ? {
            id: block.id,
            type: "function" as const,
            function: { name: block.name, arguments: JSON.stringify(block.input) },
          }
        : [],
    );
    return [{ role, content: text, ...(calls.length > 0 && { tool_calls: calls }) }];
  }
  const results = content.flatMap((block): Turn[] => {
    if (block.type !== "tool_result") return [];
    const result = textOf(block.content ?? "");
    return [{ role: "tool", tool_call_id: block.tool_use_id, content: block.is_error ? `Error: ${result}` : result }];
  });
  const says = text !== "" || results.length === 0;
  return says ? [...results, { role, content: text }] : results;
}

/** Text blocks are joined as paragraphs. */
function textOf(content: string | readonly { text: string }[]): string {
  return typeof content === "string" ? content : paragraphs(content.map(({ text }) => text));
}
