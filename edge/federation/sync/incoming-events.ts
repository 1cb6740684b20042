import { hash } from "node:crypto";
import { type OpenedEvent, openEvent, openKnownEvent } from "../../../schema/crypto/signed-event.ts";
import type { EventBody, SignedEvent } from "../../../schema/wire/events.ts";
import type { FederationPolicy, TrustLevel } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import type { TakenAtRate } from "../../events/event-log-object.ts";
import { quotaBytesOf } from "../../events/origin-quota-rules.ts";
import { mayCome } from "../../events/visibility-rules.ts";
import { EVENT_LOG } from "../../object-names.ts";
import { knownAmong } from "../peering/store.ts";
import type { IncomingResult } from "./incoming-rules.ts";
import { type EventsSize, sizeOf } from "./peer-work-rate-rules.ts";
import { grantedLevel, originRefusal } from "./sync-trust-rules.ts";

export interface IncomingEvent {
  readonly event: SignedEvent;
  readonly ttl: number;
}

/** Who brings them, with the trust that is in effect. */
export interface EventSender {
  readonly atomId: string;
  readonly trust: TrustLevel;
}

export interface TakenEvents {
  /** One each, in the order they came; null when none was looked at, for this peer brought too many before. */
  readonly arrivals: IncomingResult[] | null;
  /** Until it may bring more. */
  readonly waitMs: number;
  /** Grants of the bringer for us, among those that our log has now. */
  readonly grants: { level: TrustLevel; at: EventBody["hlc"] }[];
  /** Grants of the bringer for us that our log has no room for: what it withdraws must be heard all the same. */
  readonly unlogged: { place: number; event: EventBody }[];
  /** Those that had to be verified, because the log did not know their ids. */
  readonly unknown: EventsSize;
}

/** Events of a peer, by push, pull or stream, into our log (docs/spec/events.md#events, docs/spec/events.md#sync): opened, their origins known, then ordered. */
export async function takeIncoming(
  env: Env,
  {
    self,
    policy,
  }: { self: string; policy: Pick<FederationPolicy, "min_auth_tier" | "peer_events_per_minute" | "origin_quota_mib"> },
  from: EventSender,
  events: readonly IncomingEvent[],
): Promise<TakenEvents> {
  const log = env.EVENT_LOG.getByName(EVENT_LOG);
  const known = new Set(await log.known(events.map(({ event }) => event.content_id)));
  const unknown = sizeOf(events.filter(({ event }) => !known.has(event.content_id)));
  const opened = await openAll(events, known);
  const bodies = opened.flatMap((each) => (each.ok ? [each.event] : []));
  const trust = await trustOfOrigins(env, policy, from, bodies);
  const trustOf = (atomId: string): TrustLevel => trust.get(atomId) ?? 0;

  const arrivals: (IncomingResult | null)[] = opened.map((each, i) => {
    const content_id = events[i]?.event.content_id ?? "";
    if (!each.ok) return { ok: false, content_id, code: each.code };
    const code = originRefusal(each.event, { from: from.atomId, self }, trustOf);
    return code === null ? null : { ok: false, content_id, code };
  });
  const wanted = events.filter((_, i) => arrivals[i] === null);
  const brought = wanted.map(({ event, ttl }) => ({ wire: event, ttl, from: from.atomId }));
  const { results: taken, waitMs } =
    brought.length === 0
      ? NOTHING_TAKEN
      : await log.takeAtRate(brought, policy.peer_events_per_minute, quotaBytesOf(policy));
  if (taken === null) return { arrivals: null, waitMs, grants: [], unlogged: [], unknown };

  const grants: TakenEvents["grants"] = [];
  const unlogged: TakenEvents["unlogged"] = [];
  let next = 0;
  const all = arrivals.map((refused, i): IncomingResult => {
    if (refused !== null) return refused;
    const arrival = taken[next++] as IncomingResult;
    const each = opened[i];
    // A duplicate too: we may have died between the log and the bond, and applying it again changes nothing. But only one
    // that may come from this peer: our log has what we granted, and what others did.
    if (!each?.ok || !mayCome(each.event, { from: from.atomId, self })) return arrival;
    const level = grantedLevel(each.event);
    if (level === null) return arrival;
    if (arrival.ok) grants.push({ level, at: each.event.hlc });
    else if (arrival.code === "events/quota-spent") unlogged.push({ place: i, event: each.event });
    return arrival;
  });
  return { arrivals: all, waitMs, grants, unlogged, unknown };
}

/** A slice at a time: verifying a whole page at once would hold up every other request of this thread. */
async function openAll(events: readonly IncomingEvent[], known: ReadonlySet<string>): Promise<OpenedEvent[]> {
  const opened: OpenedEvent[] = [];
  for (let i = 0; i < events.length; i += LIMITS.eventsPerSlice) {
    if (i > 0) await scheduler.wait(0);
    const slice = events.slice(i, i + LIMITS.eventsPerSlice).map(({ event }) => event);
    const open = (wire: SignedEvent) => (known.has(wire.content_id) ? openKnownEvent(wire, sha256) : openEvent(wire));
    opened.push(...(await Promise.all(slice.map(open))));
  }
  return opened;
}

function sha256(bytes: Uint8Array): Uint8Array {
  return hash("sha256", bytes, "buffer");
}

const NOTHING_TAKEN: TakenAtRate = { results: [], waitMs: 0 };

/** Only the bonds of registered peers are asked (docs/spec/pool.md#shape, rule 5). */
async function trustOfOrigins(
  env: Env,
  { min_auth_tier }: Pick<FederationPolicy, "min_auth_tier">,
  from: EventSender,
  bodies: readonly EventBody[],
): Promise<ReadonlyMap<string, TrustLevel>> {
  const others = new Set(bodies.filter(({ visibility }) => visibility === "public").map(({ origin }) => origin));
  others.delete(from.atomId);
  const known = await knownAmong(env.DB, [...others]);
  const levels = await Promise.all(
    [...known].map(async (atomId) => [atomId, await env.BOND.getByName(atomId).effectiveTrust(min_auth_tier)] as const),
  );
  return new Map([...levels, [from.atomId, from.trust]]);
}
