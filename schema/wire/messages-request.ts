/** A body of `POST /v1/messages` as the chat that it asks for. Pure. */
import type { BodyProblem, ChatCompletionBody, MessageBody } from "./client-api.ts";
import { toChatRequest } from "./client-request.ts";
import type { CountTokensBody, MessagesBody, MessagesTurn } from "./messages-api.ts";
import { Conversation, type ParameterNames, type TranslatedChat, translatedProblem } from "./translated-chat.ts";
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

export function toMessagesRequest(body: MessagesBody): ChatRequest {
  return { ...toChatRequest(translated(body).chat), ...(body.top_k != null && { topK: body.top_k }) };
}

export function toCountRequest(body: CountTokensBody): ChatRequest {
  return { ...toChatRequest(translated(body).chat), countTokens: true };
}

/** The rules of a chat, with the names that this API has for what breaks them; and this API's own. */
export function messagesProblem(body: AnyBody): BodyProblem | null {
  return turnsProblem(body.messages) ?? translatedProblem(translated(body), NAMES);
}

function turnsProblem(turns: readonly MessagesTurn[]): BodyProblem | null {
  for (const [at, { role, content }] of turns.entries()) {
    if (typeof content === "string") continue;
    const misplaced = role === "user" ? "tool_use" : "tool_result";
    const i = content.findIndex(({ type }) => type === misplaced);
    if (i < 0) continue;
    const message = `A ${misplaced} block does not belong into a message of the role ${role}.`;
    return { code: "http/invalid-body", param: `messages.${at}.content.${i}`, message };
  }
  const last = turns.length - 1;
  if (turns[last]?.role !== "assistant") return null;
  return {
    code: "http/unsupported-parameter",
    param: `messages.${last}`,
    message: "An answer that the client began is not continued.",
    remedy: "End the conversation with a message of the user.",
  };
}

function translated(body: AnyBody): TranslatedChat {
  const conversation = new Conversation();
  const system = textOf(body.system ?? "");
  if (system !== "") conversation.add({ role: "system", content: system }, null);
  for (const [at, turn] of body.messages.entries()) {
    for (const message of messagesOf(turn)) conversation.add(message, at);
  }
  const { model, temperature, top_p, stream, tools, tool_choice: choice, output_config: output } = body;
  const chat: ChatCompletionBody = {
    model,
    messages: conversation.messages,
    temperature,
    top_p,
    stream,
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

/** In a chat, results of tools are messages of their own; they come before what the user adds to them. */
function messagesOf({ role, content }: MessagesTurn): MessageBody[] {
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
  const results = content.flatMap((block): MessageBody[] => {
    if (block.type !== "tool_result") return [];
    const said = textOf(block.content ?? "");
    return [{ role: "tool", tool_call_id: block.tool_use_id, content: block.is_error ? `Error: ${said}` : said }];
  });
  const says = text !== "" || results.length === 0;
  return says ? [...results, { role, content: text }] : results;
}

/** Blocks are paragraphs: without a break between them, the last word of one would run into the next. */
function textOf(content: string | readonly { text: string }[]): string {
  return typeof content === "string" ? content : content.map(({ text }) => text).join("\n\n");
}
