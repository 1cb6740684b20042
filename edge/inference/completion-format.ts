/** Answers of `POST /v1/completions`: a `text_completion`, in one piece or in chunks. Pure. */
import type { AnswerFormat, AnswerHead } from "./answer-format.ts";
import { choiceEvent, chunkHead, endOfChunks, openAiErrors, usageBody, usageNull } from "./openai-format.ts";

export function completionFormat(head: AnswerHead): AnswerFormat {
  const id = `cmpl-${head.jobId}`;
  const fixed = chunkHead(id, "text_completion", head);
  const tail = usageNull(head);
  const event = (choice: number, text: string, finish = "null") =>
    choiceEvent(fixed, tail, choice, `"text":${JSON.stringify(text)}`, finish);
  return {
    ...openAiErrors,
    text: (choice, text) => (text === "" ? "" : event(choice, text)),
    // A completion has no tools, so no worker may call one (`answer-rules.ts`).
    toolCall: () => "",
    finish: (choice, reason) => event(choice, "", `"${reason}"`),
    end: (usage) => endOfChunks(fixed, head, usage),
    whole: (choices, usage) =>
      JSON.stringify({
        id,
        created: head.createdSeconds,
        model: head.model,
        usage: usageBody(usage),
        object: "text_completion",
        choices: choices.map(({ text, finishReason }, index) => ({
          index,
          logprobs: null,
          finish_reason: finishReason,
          text,
        })),
      }),
  };
}
