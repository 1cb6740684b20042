/** Answers of `POST /v1/messages`, Anthropic's API: a `message`, in one piece or as its sequence of events. */
import type { FinishReason, ToolCall, Usage } from "../../../schema/wire/worker-frames.ts";
import { messagesErrorBody } from "../../http/error-body.ts";
import { type AnswerFormat, type AnswerHead, comment } from "./answer-format.ts";

export function messagesFormat(head: AnswerHead): AnswerFormat {
  const { jobId, model, requestId } = head;
  let begun = false;
  let blocks = 0;
  let open: "text" | "tool_use" | null = null;
  let stop: Stop = { stop_reason: null, stop_sequence: null };

  const message = (content: readonly object[], stopped: Stop, usage: object) => ({
    id: `msg_${jobId}`,
    type: "message",
    role: "assistant",
    model,
    content,
    ...stopped,
    stop_details: null,
    container: null,
    diagnostics: null,
    usage,
  });
  const begin = () => {
    if (begun) return "";
    begun = true;
    // The prompt tokens are known only at the end. `message_delta` has them.
    return event("message_start", { message: message([], stop, usageOf({ promptTokens: 0, completionTokens: 0 })) });
  };
  const close = () => {
    if (open === null) return "";
    open = null;
    return event("content_block_stop", { index: blocks - 1 });
  };
  const block = (content_block: { type: "text" | "tool_use" }) => {
    const closed = close();
    open = content_block.type;
    return closed + event("content_block_start", { index: blocks++, content_block });
  };
  const delta = (given: object) => event("content_block_delta", { index: blocks - 1, delta: given });
  const errorBody: AnswerFormat["errorBody"] = (code, details) =>
    JSON.stringify(messagesErrorBody(code, details, requestId));

  return {
    text(_choice, text) {
      if (text === "") return "";
      const started = begin() + (open === "text" ? "" : block(textBlock("")));
      return started + delta({ type: "text_delta", text });
    },
    toolCall(_choice, { id, name }, piece) {
      const started = begin() + (id === undefined || name === undefined ? "" : block(toolBlock(id, name, {})));
      return piece === "" ? started : started + delta({ type: "input_json_delta", partial_json: piece });
    },
    finish(_choice, reason, stopSequence) {
      stop = stopOf(reason, stopSequence);
      return begin() + close();
    },
    end: (usage) =>
      event("message_delta", { delta: { ...stop, stop_details: null, container: null }, usage: usageOf(usage) }) +
      event("message_stop", {}),
    error: (code, details) => `event: error\ndata: ${errorBody(code, details)}\n\n`,
    // Clients of this API ignore pings. Before the first event, send a comment instead.
    keepAlive: () => (begun ? event("ping", {}) : comment("keep-alive")),
    whole([choice], usage) {
      const { text = "", toolCalls = [], finishReason = "stop", stopSequence } = choice ?? {};
      const content = [
        ...(text === "" ? [] : [textBlock(text)]),
        ...toolCalls.flatMap((call) => calledBlock(call, finishReason)),
      ];
      return JSON.stringify(message(content, stopOf(finishReason, stopSequence), usageOf(usage)));
    },
    errorBody,
  };
}

/** The answer of `POST /v1/messages/count_tokens`. */
export function tokenCountFormat(head: AnswerHead): AnswerFormat {
  return {
    ...messagesFormat(head),
    whole: (_choices, { promptTokens }) => JSON.stringify({ input_tokens: promptTokens }),
  };
}

interface Stop {
  readonly stop_reason: string | null;
  readonly stop_sequence: string | null;
}

function stopOf(reason: FinishReason, stopSequence: string | undefined): Stop {
  if (stopSequence !== undefined) return { stop_reason: "stop_sequence", stop_sequence: stopSequence };
  return { stop_reason: STOP_REASONS[reason], stop_sequence: null };
}

const STOP_REASONS: Readonly<Record<FinishReason, string>> = {
  stop: "end_turn",
  length: "max_tokens",
  content_filter: "refusal",
  tool_calls: "tool_use",
};

function event(type: string, members: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...members })}\n\n`;
}

const textBlock = (text: string) => ({ type: "text", text, citations: null }) as const;
const toolBlock = (id: string, name: string, input: object) =>
  ({ type: "tool_use", id, name, input, caller: { type: "direct" } }) as const;

const CUTS: readonly FinishReason[] = ["length", "content_filter"];

/**
 * A tool call that was cut off is the last block, as in the stream. Clients then know that they must ask again with a
 * larger max_tokens. Its input is empty, so that no client runs half of a call.
 */
function calledBlock({ id, name, arguments: given }: ToolCall, reason: FinishReason): object[] {
  try {
    return [toolBlock(id, name, JSON.parse(given === "" ? "{}" : given))];
  } catch {
    return CUTS.includes(reason) ? [toolBlock(id, name, {})] : [];
  }
}

function usageOf({ promptTokens, completionTokens, reasoningTokens }: Usage): object {
  return {
    input_tokens: promptTokens,
    output_tokens: completionTokens,
    cache_creation: null,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    inference_geo: null,
    output_tokens_details: reasoningTokens === undefined ? null : { thinking_tokens: reasoningTokens },
    server_tool_use: null,
    service_tier: "standard",
    speed: null,
  };
}
