/** What trust allows in event sync (docs/spec/events.md#sync): which logs are followed, and which events are accepted from whom. */
import type { EventBody, PeerAudience } from "../../../schema/wire/events.ts";
import { grantPayload, type TrustLevel } from "../../../schema/wire/federation.ts";
import { mayRead } from "../../events/visibility-rules.ts";
import { effectiveTrust, type PeerTrust, type TrustPolicy, trustInEffect } from "../peering/trust-rules.ts";

/**
 * True when both pools may read this audience of each other. This pool then follows the peer and pushes to it. It asks for
 * nothing that the peer refuses, and pushes nothing that the peer does not want.
 */
export function mayFollow(
  audience: PeerAudience,
  trust: PeerTrust | null,
  policy: Pick<TrustPolicy, "min_auth_tier">,
): boolean {
  if (trust === null) return false;
  const theirs = effectiveTrust(trust.received, trust.granted);
  return mayRead(audience, trustInEffect(trust, policy)) && mayRead(audience, theirs);
}

/**
 * Why an event is refused for lack of trust in its origin or its sender. Null: it goes to our log, which applies its
 * own rules. An event of this pool goes there too, because the log recognises it as a duplicate. A grant is accepted at
 * any trust; otherwise no grant could raise a peer from below trust 2. No other event is accepted below trust 2;
 * otherwise anyone who registers could fill our log.
 */
export function originRefusal(
  event: Pick<EventBody, "origin" | "visibility" | "type" | "payload">,
  { from, self }: { from: string; self: string },
  trustOf: (atomId: string) => TrustLevel,
): "events/unknown-origin" | null {
  const { origin, visibility } = event;
  if (origin === self || visibility === "private" || grantedLevel(event) !== null) return null;
  const audience = visibility === "direct" ? "public" : visibility;
  return [origin, from].every((atomId) => mayRead(audience, trustOf(atomId))) ? null : "events/unknown-origin";
}

/** The level that a grant grants; null when the event is not a grant. */
export function grantedLevel(event: Pick<EventBody, "visibility" | "type" | "payload">): TrustLevel | null {
  if (event.visibility !== "direct" || event.type !== "trust_granted") return null;
  return grantPayload.safeParse(event.payload).data?.level ?? null;
}
