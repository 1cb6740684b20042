/**
 * Decides from each answer of a peer, or from its silence, whether the peer is unavailable and why. Our admin sees the
 * reason. The reason also decides which answer shows that the peer is available again.
 */
import { saysItIsOff } from "./delivery-answer-rules.ts";
import type { Outcome } from "./delivery-machine.ts";
import type { PeerAnswer } from "./peer-answer.ts";

/** Persisted contract: a value of the peer's `Bond`. Why the peer is unavailable, and since when (epoch ms). */
export interface Unavailability {
  /**
   * `off`: the peer answers that its federation is off. `silent`: the peer does not answer. `error`: the peer answers
   * with errors, or not in the protocol.
   */
  readonly reason: "off" | "silent" | "error";
  readonly sinceMs: number;
  /** Only pushes fail. An answer to another request then does not show that the peer is available again. */
  readonly isOfPushes: boolean;
}

/** The state after a try to deliver a message. `before`: the state until now. Null: the peer is available. */
export function afterPushed(before: Unavailability | null, outcome: Outcome, nowMs: number): Unavailability | null {
  switch (outcome.type) {
    case "off":
      return unavailable(before, "off", false, nowMs);
    case "unreachable":
      return unavailable(before, "silent", false, nowMs);
    case "garbled":
      return unavailable(before, "error", before?.reason !== "error" || before.isOfPushes, nowMs);
    case "answered":
      if (outcome.status < 500) return null;
      return unavailable(before, "error", before?.reason !== "error" || before.isOfPushes, nowMs);
    default:
      return outcome satisfies never;
  }
}

/**
 * The state after any other request to the peer. A refusal does not change the state, and neither does a call that this
 * pool's own policy prevented.
 */
export function afterCalled(before: Unavailability | null, answer: PeerAnswer, nowMs: number): Unavailability | null {
  if (!answer.ok)
    return answer.code === "federation/unreachable" ? unavailable(before, "silent", false, nowMs) : before;
  if (answer.status === 200) return before?.isOfPushes ? before : null;
  if (saysItIsOff(answer)) return unavailable(before, "off", false, nowMs);
  return answer.status >= 500 ? unavailable(before, "error", false, nowMs) : before;
}

/** Returns `before` itself if nothing has changed. The time stays while the reason stays. */
function unavailable(
  before: Unavailability | null,
  reason: Unavailability["reason"],
  isOfPushes: boolean,
  nowMs: number,
): Unavailability {
  if (before?.reason !== reason) return { reason, sinceMs: nowMs, isOfPushes };
  return before.isOfPushes === isOfPushes ? before : { ...before, isOfPushes };
}
