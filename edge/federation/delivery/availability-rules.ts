/** Why a peer is unavailable, and since when. Our admin sees it, and it decides what shows that the peer is back. */
import { saysItIsOff } from "./delivery-answer-rules.ts";
import type { Outcome } from "./delivery-machine.ts";
import type { PeerAnswer } from "./peer-answer.ts";

/** Persisted contract: in the peer's `Bond`. */
export interface Unavailability {
  /** `off`: the peer says that its federation is off. `silent`: no answer. `error`: errors, or no answer of the protocol. */
  readonly reason: "off" | "silent" | "error";
  readonly sinceMs: number;
  /** The peer fails at pushes only. Its answers to other requests do not show that it is back. */
  readonly isOfPushes: boolean;
}

/** After a try to deliver a message. Null: the peer is available. */
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

/**
 * After a request of ours other than a delivery. A refusal shows neither, and neither does a call that our own policy
 * prevented: the state then stays.
 */
export function afterCalled(given: Unavailability | null, answer: PeerAnswer, nowMs: number): Unavailability | null {
  if (!answer.ok) return answer.code === "federation/unreachable" ? absent(given, "silent", false, nowMs) : given;
  if (answer.status === 200) return given?.isOfPushes ? given : null;
  if (saysItIsOff(answer)) return absent(given, "off", false, nowMs);
  return answer.status >= 500 ? absent(given, "error", false, nowMs) : given;
}

/** Returns the given object where nothing has changed. */
function absent(
  given: Unavailability | null,
  reason: Unavailability["reason"],
  isOfPushes: boolean,
  nowMs: number,
): Unavailability {
  if (given?.reason !== reason) return { reason, sinceMs: nowMs, isOfPushes };
  return given.isOfPushes === isOfPushes ? given : { ...given, isOfPushes };
}
