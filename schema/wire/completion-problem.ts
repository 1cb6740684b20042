/** The rules of a completion's body that its shape cannot state. */
import type { BodyProblem, CompletionBody } from "./client-api.ts";
import { promptsOf } from "./client-request.ts";
import { LIMITS } from "./limits.ts";

/** The first problem of the body; null if there is none. */
export function completionProblem(body: CompletionBody): BodyProblem | null {
  const n = body.n ?? 1;
  const bestOf = body.best_of ?? n;
  // The pool returns every generated answer, so it cannot pick the best.
  if (bestOf !== n && bestOf !== 1) {
    return {
      code: "http/unsupported-parameter",
      param: "best_of",
      message: "The pool returns every answer that it generates, so best_of must equal n.",
      remedy: "Leave best_of out, or send the value of n.",
    };
  }
  const choices = n * promptsOf(body).length;
  if (choices <= LIMITS.choicesPerRequest) return null;
  return {
    code: "http/invalid-body",
    param: n > 1 ? "n" : "prompt",
    message: `n times the number of prompts is ${choices}, but must be at most ${LIMITS.choicesPerRequest}.`,
    remedy: "Send several requests.",
  };
}
