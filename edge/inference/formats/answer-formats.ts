/** The format of each dialect. */
import type { AnswerFormat, AnswerHead } from "./answer-format.ts";
import { chatFormat } from "./chat-format.ts";
import { completionFormat } from "./completion-format.ts";
import { messagesFormat, tokenCountFormat } from "./messages-format.ts";
import { responsesFormat } from "./responses-format.ts";

/** A new format instance for one answer, of the dialect that `head` names. */
export function answerFormat(head: AnswerHead): AnswerFormat {
  switch (head.format) {
    case "chat":
      return chatFormat(head);
    case "responses":
      return responsesFormat(head);
    case "messages":
      return messagesFormat(head);
    case "token-count":
      return tokenCountFormat(head);
    // Embeddings use only the errors of this format.
    case "embedding":
    case "completion":
      return completionFormat(head);
    default:
      return head.format satisfies never;
  }
}
