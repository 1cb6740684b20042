/**
 * Why a peer is not there for us, and since when: what our admin is told, and from what it can come back. Pure.
 */

import { saysItIsOff } from "./delivery-answer-rules.ts";
import type { Outcome } from "./delivery-machine.ts";
import type { PeerAnswer } from "./peer-answer.ts";

/** Persisted contract: in the peer's `Bond`. */
export interface Unavailability {
  /** It says that its federation is off; it says nothing; it answers with errors, or with what is no answer. */
  readonly reason: "off" | "silent" | "error";
  readonly sinceMs: number;
  /** It is so to what it is sent, and may answer all else: that shows nothing. */
  readonly isOfPushes: boolean;
}

export function afterPushed(given: Unavailability | null, outcome: Outcome, nowMs: number): Unavailability | null {
  switch (outcome.type) {
    case "off":
      return absent(given, "off", false, nowMs);
    case "unreachable":
      return absent(given, "silent", false, nowMs);
    case "garbled":
      return absent(given, "error", given?.reason !== "error" || given.isOfPushes, nowMs);
    case "answered":
      if (outcome.status < 500) return null;
      return absent(given, "error", given?.reason !== "error" || given.isOfPushes, nowMs);
    default:
      return outcome satisfies never;
  }
}

/** After what we asked for ourselves. A refusal shows neither, and so does what our own policy kept here. */
export function afterCalled(given: Unavailability | null, answer: PeerAnswer, nowMs: number): Unavailability | null {
  if (!answer.ok) return answer.code === "federation/unreachable" ? absent(given, "silent", false, nowMs) : given;
  if (answer.status === 200) return given?.isOfPushes ? given : null;
  if (saysItIsOff(answer)) return absent(given, "off", false, nowMs);
  return answer.status >= 500 ? absent(given, "error", false, nowMs) : given;
}

/** The same object where nothing is new. */
function absent(
  given: Unavailability | null,
  reason: Unavailability["reason"],
  isOfPushes: boolean,
  nowMs: number,
): Unavailability {
  if (given?.reason !== reason) return { reason, sinceMs: nowMs, isOfPushes };
  return given.isOfPushes === isOfPushes ? given : { ...given, isOfPushes };
}
