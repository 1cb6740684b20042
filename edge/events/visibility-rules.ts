import type { Audience, EventBody } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** What decides who may see an event (docs/spec/events.md#events, docs/spec/events.md#sync). */
export interface Visible {
  visibility: EventBody["visibility"];
  payload: EventBody["payload"];
  /** Written by this pool, not taken from another. */
  ours: boolean;
}

/** A peer that asks, with the trust that is in effect between us (docs/spec/federation.md#trust). */
export interface Viewer {
  atomId: string;
  trust: number;
}

export const TRUST_FOR_PUBLIC = 2;
export const TRUST_FOR_PEERS = 3;

/** The one rule of what may leave towards a peer, by push, pull or stream alike. */
export function maySee(event: Visible, viewer: Viewer): boolean {
  switch (event.visibility) {
    case "private":
      return false;
    case "direct":
      // Shown to whom it names at any trust, or a grant could never lift one from below.
      return event.ours && event.payload.peer === viewer.atomId;
    case "peers":
      // Another pool's travels only over that pool's own bond.
      return event.ours && viewer.trust >= TRUST_FOR_PEERS;
    case "public":
      return viewer.trust >= TRUST_FOR_PUBLIC;
    default:
      return event.visibility satisfies never;
  }
}

/**
 * Whether an event may come in from this peer (docs/spec/events.md#sync); its signature, and that its origin is one we listen to, are
 * checked before. One of our own that our log does not have is not taken back: the chain would tell another story.
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

/** The audiences whose sequence an event is part of. `ttl` is what it may still be passed on; ours have the most. */
export function audiencesOf(event: Pick<Visible, "visibility" | "ours">, ttl: number): Audience[] {
  if (event.visibility === "public" && mayRelay(event, ttl)) return ["all", "public"];
  if (event.visibility === "peers" && event.ours) return ["all", "peers"];
  return ["all"];
}

/** Whether an event that came with this ttl is passed on to others; our own leave with `LIMITS.eventTtl`. */
export function mayRelay(event: Pick<Visible, "visibility" | "ours">, ttl: number): boolean {
  return event.visibility === "public" && (event.ours || ttl > 0);
}

/** What an event that came with this ttl leaves with: clamped, and one less. 0: it is not passed on by whoever gets it. */
export function ttlOnwards(ttl: number): number {
  return Math.max(0, Math.min(ttl, LIMITS.eventTtl) - 1);
}

/** Whether a peer may read an audience at all; the operator's whole log is no peer's. */
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
