import type { Audience, EventBody } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** The parts of an event that decide who may see it (docs/spec/events.md#visibility). */
export interface Visible {
  visibility: EventBody["visibility"];
  payload: EventBody["payload"];
  /** This pool wrote it. */
  ours: boolean;
}

/** A peer, with its effective trust (docs/spec/federation.md#trust). */
export interface Viewer {
  atomId: string;
  trust: number;
}

export const TRUST_FOR_PUBLIC = 2;
export const TRUST_FOR_PEERS = 3;

/** Whether an event may go to a peer, by push, pull or stream. No other rule decides this. */
export function maySee(event: Visible, viewer: Viewer): boolean {
  switch (event.visibility) {
    case "private":
      return false;
    case "direct":
      // Allowed at any trust: otherwise a grant could never reach a peer that has no trust yet.
      return event.ours && event.payload.peer === viewer.atomId;
    case "peers":
      // Events of another pool travel only over that pool's own bond.
      return event.ours && viewer.trust >= TRUST_FOR_PEERS;
    case "public":
      return viewer.trust >= TRUST_FOR_PUBLIC;
    default:
      return event.visibility satisfies never;
  }
}

/**
 * Whether an event may come from this peer. The caller has checked its signature and our trust in its origin. An event in
 * our own name that our log does not have is refused: our chain would change.
 */
export function mayReceive(
  event: Pick<EventBody, "origin" | "visibility" | "payload">,
  { from, self }: { from: string; self: string },
): boolean {
  if (event.origin === self) return false;
  switch (event.visibility) {
    case "private":
      return false;
    case "direct":
      return event.origin === from && event.payload.peer === self;
    case "peers":
      return event.origin === from;
    case "public":
      return true;
    default:
      return event.visibility satisfies never;
  }
}

/** The audiences that an event belongs to. `ttl`: how often it may still be relayed. */
export function audiencesOf(event: Pick<Visible, "visibility" | "ours">, ttl: number): Audience[] {
  if (event.visibility === "public" && mayRelay(event, ttl)) return ["all", "public"];
  if (event.visibility === "peers" && event.ours) return ["all", "peers"];
  return ["all"];
}

/** Whether an event that arrived with this ttl is relayed. Our own events leave with `LIMITS.eventTtl`. */
export function mayRelay(event: Pick<Visible, "visibility" | "ours">, ttl: number): boolean {
  return event.visibility === "public" && (event.ours || ttl > 0);
}

/** The ttl of a relayed event that arrived with this ttl: clamped, and one less. The receiver of 0 does not relay it. */
export function ttlOnwards(ttl: number): number {
  return Math.max(0, Math.min(ttl, LIMITS.eventTtl) - 1);
}

/** Whether a peer may read an audience. No peer may read the operator's whole log. */
export function mayRead(audience: Audience, trust: number): boolean {
  switch (audience) {
    case "all":
      return false;
    case "peers":
      return trust >= TRUST_FOR_PEERS;
    case "public":
      return trust >= TRUST_FOR_PUBLIC;
    default:
      return audience satisfies never;
  }
}
