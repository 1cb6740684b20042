/** Answers of `POST /v1/chat/completions`: a `chat.completion`, or `chat.completion.chunk` events. */
import type { ToolCall } from "../../../schema/wire/worker-frames.ts";
import type { AnswerFormat, AnswerHead } from "./answer-format.ts";
import { chatLogprobs } from "./logprobs-format.ts";
import { choiceEvent, chunkHead, endOfChunks, openAiErrors, usageNull, wholeAnswer } from "./openai-format.ts";

export function chatFormat(head: AnswerHead): AnswerFormat {
  const id = `chatcmpl-${head.jobId}`;
  // All chunks of a stream share their head and tail, so only the delta is serialised for each frame.
  const fixed = chunkHead(id, "chat.completion.chunk", head);
  const frame = { fixed, tail: usageNull(head) };
  const event = (choice: number, delta: string, more?: Parameters<typeof choiceEvent>[3]) =>
    choiceEvent(frame, choice, `"delta":${delta}`, more);
  const begun = new Set<number>();
  /** The first event of a choice names the role. */
  const role = (choice: number, content: "" | null = "") => {
    if (begun.has(choice)) return "";
    begun.add(choice);
    return event(choice, `{"role":"assistant","content":${JSON.stringify(content)}}`);
  };
  return {
    ...openAiErrors,
    text(choice, text, logprobs) {
      if (text === "") return "";
      const shown = logprobs && { logprobs: JSON.stringify(chatLogprobs(logprobs)) };
      return role(choice) + event(choice, `{"content":${JSON.stringify(text)}}`, shown);
    },
    toolCall(choice, { index, id: callId, name }, piece) {
      const call = {
        ...(callId === undefined ? { index } : { index, id: callId, type: "function" }),
        function: { ...(name !== undefined && { name }), arguments: piece },
      };
      return role(choice, null) + event(choice, `{"tool_calls":[${JSON.stringify(call)}]}`);
    },
    finish: (choice, reason) => role(choice) + event(choice, "{}", { finish: `"${reason}"` }),
    end: (usage) => endOfChunks(fixed, head, usage),
    whole: (choices, usage) =>
      wholeAnswer(
        { id, object: "chat.completion" },
        head,
        usage,
        choices.map(({ text, toolCalls, logprobs, finishReason }, index) => ({
          index,
          logprobs: logprobs ? chatLogprobs(logprobs) : null,
          finish_reason: finishReason,
          message: assistantMessage(text, toolCalls),
        })),
      ),
  };
}

function assistantMessage(text: string, toolCalls: readonly ToolCall[]) {
  const message = { role: "assistant", content: text, refusal: null };
  if (toolCalls.length === 0) return message;
  const calls = toolCalls.map(({ id, name, arguments: given }) => ({
    id,
    type: "function",
    function: { name, arguments: given },
  }));
  return { ...message, content: text === "" ? null : text, tool_calls: calls };
}
