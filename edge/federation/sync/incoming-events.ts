import { hash } from "node:crypto";
import { type OpenedEvent, openEvent, openKnownEvent } from "../../../schema/crypto/signed-event.ts";
import type { EventBody, SignedEvent } from "../../../schema/wire/events.ts";
import type { FederationPolicy, TrustLevel } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { eventLogForBonds } from "../../events/event-log-for.ts";
import type { RatedReceiveAnswer } from "../../events/event-log-rpc.ts";
import { quotaBytesOf } from "../../events/origin-quota-rules.ts";
import { mayReceive } from "../../events/visibility-rules.ts";
import { bondForPool } from "../bond-for.ts";
import { knownAmong } from "../peering/store.ts";
import type { IncomingResult } from "./incoming-rules.ts";
import { type EventsSize, sizeOf } from "./peer-work-rate-rules.ts";
import { grantedLevel, originRefusal } from "./sync-trust-rules.ts";

export interface IncomingEvent {
  readonly event: SignedEvent;
  readonly ttl: number;
}

/** The peer that sends the events, with the trust that is in effect. */
export interface EventSender {
  readonly atomId: string;
  readonly trust: TrustLevel;
}

export interface TakenEvents {
  /** One for each event, in their order; null when our log takes no events of this sender for now. */
  readonly results: IncomingResult[] | null;
  /** How long until the sender may send more. */
  readonly waitMs: number;
  /** The sender's grants for this pool, among the events that our log has now. */
  readonly grants: { level: TrustLevel; at: EventBody["hlc"] }[];
  /**
   * The sender's grants for this pool that our log has no room for. They take effect anyway, because a grant may
   * withdraw trust.
   */
  readonly unlogged: { index: number; event: EventBody }[];
  /** The events that had to be verified, because our log did not know their ids. */
  readonly unknown: EventsSize;
}

/**
 * Takes a peer's events from a push, a pull or a stream into our log (docs/spec/events.md#events,
 * docs/spec/events.md#sync). Checks the signatures, then the trust in each origin, then the log's own rules. Rejects if
 * the log or D1 is unavailable.
 */
export async function takeIncoming(
  env: Env,
  {
    self,
    policy,
  }: { self: string; policy: Pick<FederationPolicy, "min_auth_tier" | "peer_events_per_minute" | "origin_quota_mib"> },
  sender: EventSender,
  events: readonly IncomingEvent[],
): Promise<TakenEvents> {
  const log = eventLogForBonds(env);
  const known = new Set(await log.known(events.map(({ event }) => event.content_id)));
  const unknown = sizeOf(events.filter(({ event }) => !known.has(event.content_id)));
  const opened = await openAll(events, known);
  const bodies = opened.flatMap((each) => (each.ok ? [each.event] : []));
  const trust = await trustOfOrigins(env, policy, sender, bodies);
  const trustOf = (atomId: string): TrustLevel => trust.get(atomId) ?? 0;

  const refused: (IncomingResult | null)[] = opened.map((each, i) => {
    const content_id = events[i]?.event.content_id ?? "";
    if (!each.ok) return { ok: false, content_id, code: each.code };
    const code = originRefusal(each.event, { from: sender.atomId, self }, trustOf);
    return code === null ? null : { ok: false, content_id, code };
  });
  const accepted = events.filter((_, i) => refused[i] === null);
  const forLog = accepted.map(({ event, ttl }) => ({ wire: event, ttl, from: sender.atomId }));
  const { results: taken, waitMs } =
    forLog.length === 0
      ? NOTHING_TAKEN
      : await log.receiveAtRate(forLog, policy.peer_events_per_minute, quotaBytesOf(policy));
  if (taken === null) return { results: null, waitMs, grants: [], unlogged: [], unknown };

  const grants: TakenEvents["grants"] = [];
  const unlogged: TakenEvents["unlogged"] = [];
  let next = 0;
  const results = refused.map((refusal, index): IncomingResult => {
    if (refusal !== null) return refusal;
    const result = taken[next++] as IncomingResult;
    const each = opened[index];
    // Apply a duplicate grant again: after a crash between the log's commit and ours, the grant was not applied. Skip
    // grants of other origins, which our log has too.
    if (!each?.ok || !mayReceive(each.event, { from: sender.atomId, self })) return result;
    const level = grantedLevel(each.event);
    if (level === null) return result;
    if (result.ok) grants.push({ level, at: each.event.hlc });
    else if (result.code === "events/quota-spent") unlogged.push({ index, event: each.event });
    return result;
  });
  return { results, waitMs, grants, unlogged, unknown };
}

/**
 * Verifies a few events at a time, because verifying a whole page at once would delay every other request of this
 * isolate.
 */
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

const NOTHING_TAKEN: RatedReceiveAnswer = { results: [], waitMs: 0 };

/** The trust in the origin of each public event. Only bonds of registered peers are called (docs/spec/pool.md#shape, rule 5). */
async function trustOfOrigins(
  env: Env,
  { min_auth_tier }: Pick<FederationPolicy, "min_auth_tier">,
  sender: EventSender,
  bodies: readonly EventBody[],
): Promise<ReadonlyMap<string, TrustLevel>> {
  const others = new Set(bodies.filter(({ visibility }) => visibility === "public").map(({ origin }) => origin));
  others.delete(sender.atomId);
  const known = await knownAmong(env.DB, [...others]);
  const levels = await Promise.all(
    [...known].map(async (atomId) => [atomId, await bondForPool(env, atomId).effectiveTrust(min_auth_tier)] as const),
  );
  return new Map([...levels, [sender.atomId, sender.trust]]);
}
