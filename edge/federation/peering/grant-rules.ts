/**
 * Grants of trust from peers: which of them count, and which are kept out of our log (docs/spec/federation.md#trust).
 */
import type { EventBody, HybridTime, SignedEvent } from "../../../schema/wire/events.ts";
import type { TrustLevel } from "../../../schema/wire/federation.ts";
import { NEVER } from "../../events/clock-rules.ts";
import { receiveEvent } from "../../events/receive-rules.ts";
import type { EventRefusal } from "../sync/incoming-rules.ts";
import { grantedLevel, originRefusal } from "../sync/sync-trust-rules.ts";
import type { PeerTrust } from "./trust-rules.ts";

export interface Grant {
  readonly level: TrustLevel;
  readonly at: HybridTime;
}

/**
 * Persisted contract: what a peer below trust 2 did that our log does not have yet. The log is append-only and anyone may
 * register, so it records such a peer only once our admin, or the policy, decides something about it.
 */
export interface Unlogged {
  /** The peer has registered by itself. */
  readonly isMet?: boolean;
  /** The last grant that was applied. */
  readonly grant?: SignedEvent;
  /** A decision about the peer was made, so the grant may go to the log. */
  readonly isReleased?: boolean;
}

/**
 * Why an event of a peer below trust 2 is refused; null if it is accepted. Such a peer may send its own grant to us,
 * with a current time, and no other event.
 */
export function keptRefusal(
  event: EventBody,
  { from, self }: { from: string; self: string },
  nowMs: number,
): EventRefusal | null {
  const unknown = originRefusal(event, { from, self }, () => 0);
  if (unknown !== null) return unknown;
  if (grantedLevel(event) === null) return "events/forbidden";
  const nothingHeld = () => ({ all: 0, ofSender: 0 });
  const step = receiveEvent(NEVER, { event, ttl: 0, from }, { self, held: nothingHeld }, nowMs * 1_000);
  return step.outcome === "refused" ? step.code : null;
}

/** Whether the peer may know of trust that this pool granted it. Then it must be informed of changes. */
export function wasGranted({ decided, granted }: PeerTrust): boolean {
  return decided !== null || granted >= 2;
}
