/** The format of each dialect. */
import type { AnswerFormat, AnswerHead } from "./answer-format.ts";
import { chatFormat } from "./chat-format.ts";
import { completionFormat } from "./completion-format.ts";

export function answerFormat(head: AnswerHead): AnswerFormat {
  return head.format === "chat" ? chatFormat(head) : completionFormat(head);
}
