/**
 * Reads the answer of a peer: what it means for the message, and for the circuit (docs/spec/federation.md#delivery).
 */
import { ERRORS } from "../../../schema/wire/errors.ts";
import { type PushAnswer, pushAnswer } from "../../../schema/wire/events.ts";
import { peerError } from "../../../schema/wire/federation.ts";
import type { Outcome } from "./delivery-machine.ts";

export interface Answered {
  readonly status: number;
  readonly body: unknown;
  readonly retryAfterSeconds: number | null;
}

interface ReadAnswer {
  readonly outcome: Outcome;
  /** The peer's verdict on the events; null if the answer contains none. */
  readonly answer: PushAnswer | null;
}

/**
 * The answer to a message with several events. The message is delivered if the peer took at least one event. The sender
 * then reads from `answer` which events were refused.
 */
export function readEventPushAnswer(answered: Answered): ReadAnswer {
  return read(answered, ({ accepted, duplicates }) => accepted + duplicates > 0);
}

/**
 * The answer to a message with one grant. It is delivered if the peer counts the grant as new or as a duplicate. A
 * refused grant is retried, because the cause may pass.
 */
export function readGrantAnswer(answered: Answered): ReadAnswer {
  return read(answered, ({ accepted, duplicates }) => accepted === 1 || duplicates === 1);
}

function read(answered: Answered, isTaken: (answer: PushAnswer) => boolean): ReadAnswer {
  const answer = pushAnswerOf(answered);
  if (answer === null) return { outcome: refusalOf(answered), answer };
  const { retryAfterSeconds } = answered;
  // If the peer took no event, the answer is a refusal, whatever its HTTP status is.
  return { outcome: { type: "answered", status: isTaken(answer) ? 200 : 400, retryAfterSeconds }, answer };
}

function pushAnswerOf({ status, body }: Answered): PushAnswer | null {
  const isAboutEvents = isSuccess(status) || status === 400;
  return (isAboutEvents ? pushAnswer.safeParse(body).data : null) ?? null;
}

/**
 * The outcome of an answer without a verdict on the events: federation is off, a refusal of the protocol, or an answer
 * outside the protocol.
 */
function refusalOf(answered: Answered): Outcome {
  if (saysItIsOff(answered)) return { type: "off" };
  const { status, retryAfterSeconds } = answered;
  return isRefusal(answered) ? { type: "answered", status, retryAfterSeconds } : { type: "garbled" };
}

/** Whether the answer says that the peer's federation is switched off (docs/spec/federation.md#switches). */
export function saysItIsOff({ status, body }: Pick<Answered, "status" | "body">): boolean {
  const off = ERRORS["federation/disabled"];
  return status === off.status && peerError.safeParse(body).data?.error.code === off.openAiCode;
}

/**
 * Whether the answer is a refusal of the protocol. A success status is none: its body would show what the peer took.
 */
function isRefusal({ status, body, retryAfterSeconds }: Answered): boolean {
  if (status >= 500) return true;
  // These statuses need no body.
  if (status === 404 || status === 410 || (status === 429 && retryAfterSeconds !== null)) return true;
  return status >= 400 && peerError.safeParse(body).success;
}

const isSuccess = (status: number) => status >= 200 && status < 300;
