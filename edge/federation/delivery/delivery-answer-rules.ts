/** How the answers of a peer are read: what they mean for the message, and for the circuit (docs/spec/federation.md#delivery). */
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
  /** Null where the peer says nothing about the events. */
  readonly answer: PushAnswer | null;
}

/** Several events: the peer took the message when it took at least one of them. The sender judges what it refused. */
export function readEventPushAnswer(answered: Answered): ReadAnswer {
  return read(answered, ({ accepted, duplicates }) => accepted + duplicates > 0);
}

/** One grant: the peer took it when it counts it once, as new or as a duplicate. A refusal is tried again: its cause may pass. */
export function readGrantAnswer(answered: Answered): ReadAnswer {
  return read(answered, ({ accepted, duplicates }) => accepted === 1 || duplicates === 1);
}

function read(answered: Answered, isTaken: (answer: PushAnswer) => boolean): ReadAnswer {
  const answer = pushAnswerOf(answered);
  if (answer === null) return { outcome: refusalOf(answered), answer };
  const { retryAfterSeconds } = answered;
  // An answer that took nothing is a refusal, whatever its status is.
  return { outcome: { type: "answered", status: isTaken(answer) ? 200 : 400, retryAfterSeconds }, answer };
}

function pushAnswerOf({ status, body }: Answered): PushAnswer | null {
  const isAboutEvents = isSuccess(status) || status === 400;
  return (isAboutEvents ? pushAnswer.safeParse(body).data : null) ?? null;
}

/** The same for each kind of message: refused for good, off, throttled, failed, or no answer of the protocol. */
function refusalOf(answered: Answered): Outcome {
  if (saysItIsOff(answered)) return { type: "off" };
  const { status, retryAfterSeconds } = answered;
  return isRefusal(answered) ? { type: "answered", status, retryAfterSeconds } : { type: "garbled" };
}

/** The peer's operator has switched federation off (docs/spec/federation.md#switches). */
export function saysItIsOff({ status, body }: Pick<Answered, "status" | "body">): boolean {
  const off = ERRORS["federation/disabled"];
  return status === off.status && peerError.safeParse(body).data?.error.code === off.openAiCode;
}

/** A success is not one: whether a success took the message, only its body says. */
function isRefusal({ status, body, retryAfterSeconds }: Answered): boolean {
  if (status >= 500) return true;
  // These statuses need no body.
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
