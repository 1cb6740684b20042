/** What a peer's answer to a push is worth: to the message, and to the circuit (docs/spec/federation.md#delivery, docs/spec/events.md#sync). Pure. */
import { ERRORS } from "../../../schema/wire/errors.ts";
import { type PushAnswer, pushAnswer } from "../../../schema/wire/events.ts";
import { peerError } from "../../../schema/wire/federation.ts";
import type { Outcome } from "./delivery-machine.ts";

interface Answered {
  readonly status: number;
  readonly body: unknown;
  readonly retryAfterSeconds: number | null;
}

/** `answer`: what it says of the events, whether it took any or not; null where it says nothing of them. */
export function readPushAnswer({ status, body, retryAfterSeconds }: Answered): {
  outcome: Outcome;
  answer: PushAnswer | null;
} {
  const isOfPush = isSuccess(status) || status === 400;
  const answer = (isOfPush ? pushAnswer.safeParse(body).data : null) ?? null;
  if (answer !== null) {
    // What took nothing is a refusal, whatever status it has.
    const isTaken = answer.accepted + answer.duplicates > 0;
    return { outcome: { type: "answered", status: isTaken ? 200 : 400, retryAfterSeconds }, answer };
  }
  if (saysItIsOff({ status, body })) return { outcome: { type: "off" }, answer };
  const outcome: Outcome = isUnderstood({ status, body, retryAfterSeconds })
    ? { type: "answered", status, retryAfterSeconds }
    : { type: "garbled" };
  return { outcome, answer };
}

/** Its operator has federation off (docs/spec/federation.md#switches). */
export function saysItIsOff({ status, body }: Pick<Answered, "status" | "body">): boolean {
  const off = ERRORS["federation/disabled"];
  return status === off.status && peerError.safeParse(body).data?.error.code === off.openAiCode;
}

/** Not a success: of that the body says whether it is one. */
function isUnderstood({ status, body, retryAfterSeconds }: Answered): boolean {
  if (status >= 500) return true;
  // They need no words.
  if (status === 404 || status === 410 || (status === 429 && retryAfterSeconds !== null)) return true;
  return status >= 400 && peerError.safeParse(body).success;
}

const isSuccess = (status: number) => status >= 200 && status < 300;

/** RFC 9110 section 10.2.3: seconds, or a date; null for what is neither. */
export function readRetryAfter(header: string | null, nowMs: number): number | null {
  if (header === null) return null;
  if (/^\d+$/.test(header)) return Number(header);
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(header)) return null;
  const atMs = Date.parse(header);
  return Number.isNaN(atMs) ? null : Math.max(0, Math.ceil((atMs - nowMs) / 1_000));
}
