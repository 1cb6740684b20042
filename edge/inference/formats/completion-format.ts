/** Answers of `POST /v1/completions`: a `text_completion`, in one piece or in chunks. */
import type { AnswerFormat, AnswerHead } from "./answer-format.ts";
import { completionLogprobs } from "./logprobs-format.ts";
import { choiceEvent, chunkHead, endOfChunks, openAiErrors, usageNull, wholeAnswer } from "./openai-format.ts";

export function completionFormat(head: AnswerHead): AnswerFormat {
  const id = `cmpl-${head.jobId}`;
  const fixed = chunkHead(id, "text_completion", head);
  const frame = { fixed, tail: usageNull(head) };
  const event = (choice: number, text: string, more?: Parameters<typeof choiceEvent>[3]) =>
    choiceEvent(frame, choice, `"text":${JSON.stringify(text)}`, more);
  /** Characters of each choice's text so far, where the request asks for log probabilities. */
  const offsets = new Map<number, number>();
  return {
    ...openAiErrors,
    text(choice, text, logprobs) {
      if (text === "") return "";
      if (!logprobs) return event(choice, text);
      const offset = offsets.get(choice) ?? 0;
      offsets.set(choice, offset + text.length);
      return event(choice, text, { logprobs: JSON.stringify(completionLogprobs(logprobs, offset)) });
    },
    // A completion has no tools, so `job-output-rules.ts` refuses tool calls.
    toolCall: () => "",
    finish: (choice, reason) => event(choice, "", { finish: `"${reason}"` }),
    end: (usage) => endOfChunks(fixed, head, usage),
    whole: (choices, usage) =>
      wholeAnswer(
        { id, object: "text_completion" },
        head,
        usage,
        choices.map(({ text, logprobs, finishReason }, index) => ({
          index,
          logprobs: logprobs ? completionLogprobs(logprobs, 0) : null,
          finish_reason: finishReason,
          text,
        })),
      ),
  };
}
