/** How a peer's answers to our requests and callbacks are read (docs/spec/federation.md#admin-requests). */
import { adminRequestAnswer } from "../../../schema/wire/admin-requests.ts";
import { ERRORS, type ErrorCode } from "../../../schema/wire/errors.ts";
import { type Answered, saysItIsOff } from "../delivery/delivery-answer-rules.ts";
import type { Outcome } from "../delivery/delivery-machine.ts";
import { refusalIn } from "../delivery/refusal-words-rules.ts";

/** What the peer did with our request. */
export type RequestVerdict =
  | { readonly type: "accepted"; readonly status: "pending" | "blocked" | "decided" }
  /** `code`: the peer's own code, or its HTTP status. `words`: for our admin. */
  | { readonly type: "refused"; readonly code: string; readonly words: string };

interface Read<Answer> {
  readonly outcome: Outcome;
  readonly answer: Answer | null;
}

const TAKEN: Outcome = { type: "answered", status: 200, retryAfterSeconds: null };

/** A refusal is final, so that our admin hears of it at once. Only a rate limit, "off" and errors are tried again. */
export function readRequestAnswer(answered: Answered): Read<RequestVerdict> {
  const { status, body } = answered;
  if (status >= 200 && status < 300) {
    const landed = adminRequestAnswer.safeParse(body).data;
    if (landed === undefined) return { outcome: { type: "garbled" }, answer: null };
    const isOpen = landed.status === "pending" || landed.status === "blocked";
    return { outcome: TAKEN, answer: { type: "accepted", status: isOpen ? (landed.status as "pending") : "decided" } };
  }
  if (isRetried(answered)) return { outcome: otherwise(answered), answer: null };
  const refused = refusalIn(body);
  if (refused?.code === codeInBody("federation/slashing-pending")) {
    return { outcome: TAKEN, answer: { type: "accepted", status: "blocked" } };
  }
  // A refusal without words is one all the same: 404 of a server that does not know the path, for example.
  const { code, words } = refused ?? { code: null, words: "" };
  return {
    outcome: TAKEN,
    answer: { type: "refused", code: code ?? String(status), words: words || `The other pool answered ${status}.` },
  };
}

export function readCallbackAnswer(answered: Answered): Read<null> {
  const { status, body, retryAfterSeconds } = answered;
  const isAnswer = (status >= 200 && status < 300) || status === 404 || status === 410 || refusalIn(body) !== null;
  if (isAnswer && !saysItIsOff(answered))
    return { outcome: { type: "answered", status, retryAfterSeconds }, answer: null };
  return { outcome: otherwise(answered), answer: null };
}

/** Whether the message is sent again: the peer is off, its rate is used up, or it failed. */
function isRetried(answered: Answered): boolean {
  const { status, body, retryAfterSeconds } = answered;
  if (status < 400 || status >= 500 || saysItIsOff(answered)) return true;
  const isRate = refusalIn(body)?.code === codeInBody("federation/rate-limited");
  return status === 429 && retryAfterSeconds !== null && (isRate || refusalIn(body) === null);
}

function otherwise(answered: Answered): Outcome {
  if (saysItIsOff(answered)) return { type: "off" };
  const { status, retryAfterSeconds } = answered;
  return status >= 400 ? { type: "answered", status, retryAfterSeconds } : { type: "garbled" };
}

/** An error's code as it is in a body. */
const codeInBody = (code: ErrorCode) => ERRORS[code].openAiCode;
