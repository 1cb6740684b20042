/**
 * Event sync with one peer (docs/spec/events.md#sync): how far we follow its log, and how far it has ours, each audience by itself. Pure:
 * what comes in was parsed, and its checkpoint opened; hash, time and chance come in too. Following is the ground truth:
 * a push moves no cursor of its receiver, so that what a push left out is pulled later.
 */
import { equivocation, GENESIS_CHAIN, nextChain } from "../../../schema/crypto/signed-event.ts";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type {
  EventBody,
  HybridTime,
  PeerAudience,
  PullAnswer,
  PulledEvent,
  PushAnswer,
  PushBody,
  SignedCheckpoint,
} from "../../../schema/wire/events.ts";
import { grantPayload, type TrustLevel } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { TakeResult } from "../../events/arrival.ts";
import type { Place } from "../../events/log-machine.ts";
import { mayRead } from "../../events/visibility-rules.ts";
import { afterTry, type Delivery, newDelivery, type Outcome } from "../delivery/delivery-machine.ts";
import { effectiveTrust, type PeerTrust, type TrustPolicy, trustInEffect } from "../peering/trust-rules.ts";

/** What became of one event that a peer brought, in the order it brought them. */
export type Arrival = TakeResult | { ok: false; content_id: string; code: EventRefusal };
export type EventRefusal = Extract<ErrorCode, `events/${string}`>;

type Sha256 = (bytes: Uint8Array) => Uint8Array;

// ---- who listens to whom

/** Both sides would read the other's: we ask for nothing that we are refused, push nothing that is not wanted. */
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
 * Null: the event goes to our log, which decides the rest; one of our own too, for the log knows it. Grants are heard at
 * any trust, or none could lift a peer from below; nothing else is, or whoever registers could fill our log.
 */
export function originRefusal(
  event: Pick<EventBody, "origin" | "visibility" | "type" | "payload">,
  { from, self }: { from: string; self: string },
  trustOf: (atomId: string) => TrustLevel,
): Extract<EventRefusal, "events/unknown-origin"> | null {
  const { origin, visibility } = event;
  if (origin === self || visibility === "private" || grantedLevel(event) !== null) return null;
  const audience = visibility === "direct" ? "public" : visibility;
  return [origin, from].every((atomId) => mayRead(audience, trustOf(atomId))) ? null : "events/unknown-origin";
}

/** What a grant grants; null for what is none. */
export function grantedLevel(event: Pick<EventBody, "visibility" | "type" | "payload">): TrustLevel | null {
  if (event.visibility !== "direct" || event.type !== "trust_granted") return null;
  return grantPayload.safeParse(event.payload).data?.level ?? null;
}

// ---- following

/** Persisted contract: in the peer's `Bond`, one for each audience of its log. */
export interface Followed {
  /** Null: nothing was ever heard. */
  readonly logId: string | null;
  /** The last event that needs no second look, and the chain up to it. */
  readonly cursor: Place;
  /** The last checkpoint that the cursor stood at: from here we begin again when a later one does not hold. */
  readonly verified: SignedCheckpoint | null;
  /** Of the highest number; ahead of the cursor while there is more to pull. */
  readonly newest: SignedCheckpoint | null;
  /** The proof that the peer told two stories. Following stops, until our admin has it begin anew. */
  readonly equivocation: readonly [SignedCheckpoint, SignedCheckpoint] | null;
}

const BEGINNING: Place = Object.freeze({ seq: 0, chain: GENESIS_CHAIN });

export const NOTHING_FOLLOWED: Followed = Object.freeze({
  logId: null,
  cursor: BEGINNING,
  verified: null,
  newest: null,
  equivocation: null,
});

/** Whom we follow, in what. */
export interface Source {
  readonly atomId: string;
  /** Hex. */
  readonly publicKey: string;
  readonly audience: PeerAudience;
}

export type FollowRefusal =
  /** It proved that it tells two stories, now or before. */
  | "equivocation"
  /** The log has another name: it is pulled from its beginning, and what we have of it is a duplicate. */
  | "new-log"
  /** A gap or a repeat: an answer that came late, or to another question. Pull from the cursor. */
  | "out-of-step"
  /** Its head went backwards under the same name. */
  | "rolled-back"
  /** What it handed out does not lead to what it signed. The cursor went back to where it last did. */
  | "chain-mismatch"
  /** A checkpoint that is not its own, of another audience, or not of the head. */
  | "malformed"
  /** Our log keeps no more of what the peer writes, by the quota that our admin set. */
  | "quota-spent";

/** Persisted contract: why a log was last not followed on, since it was last level with it. */
export interface Unfollowable {
  readonly reason: FollowRefusal;
  readonly sinceMs: number;
  /** What our admin has been told of it: each reason once. */
  readonly told: readonly FollowRefusal[];
}

/** It was refused again. `isNews`: it has lasted, and our admin has not been told. */
export function refusedAgain(
  given: Unfollowable | null,
  reason: FollowRefusal,
  nowMs: number,
): { unfollowable: Unfollowable; isNews: boolean } {
  const { sinceMs, told }: Pick<Unfollowable, "sinceMs" | "told"> = given ?? { sinceMs: nowMs, told: [] };
  const isNews = nowMs - sinceMs >= LIMITS.followRefusedMs && !told.includes(reason);
  // A wall clock that stepped back begins again.
  return {
    unfollowable: { reason, sinceMs: Math.min(sinceMs, nowMs), told: isNews ? [...told, reason] : told },
    isNews,
  };
}

/** Events that may go to the log, and the place that the cursor would have after each. */
export interface Stretch {
  readonly logId: string | null;
  readonly from: Place;
  readonly steps: readonly { place: Place; own: boolean }[];
}

/** `followed` is to be stored, whatever the outcome. */
export type FollowStep =
  | { ok: true; followed: Followed; stretch: Stretch }
  | { ok: false; code: FollowRefusal; followed: Followed };

/** A pull's answer, before any of its events is looked at. Its checkpoint has been opened. */
export function receivePage(given: Followed, source: Source, page: PullAnswer, sha256: Sha256): FollowStep {
  const { checkpoint } = page.checkpoint;
  const refuse = (code: FollowRefusal, followed: Followed): FollowStep => ({ ok: false, code, followed });
  if (given.equivocation !== null) return refuse("equivocation", given);
  const isIts = checkpoint.origin === source.atomId && checkpoint.audience === source.audience;
  if (!isIts || checkpoint.seq !== page.head) return refuse("malformed", given);
  const known = checkpoint.log_id === given.logId ? given : { ...NOTHING_FOLLOWED, logId: checkpoint.log_id };
  const other = [known.verified, known.newest].find((said) => said && equivocation(said.checkpoint, checkpoint));
  if (other) return refuse("equivocation", { ...known, equivocation: [other, page.checkpoint] });

  const newestSeq = known.newest?.checkpoint.seq ?? 0;
  // Also of a page that is refused: whoever says another thing of that number later is caught.
  const followed = checkpoint.seq >= newestSeq ? { ...known, newest: page.checkpoint } : known;
  const last = page.events.at(-1)?.seq ?? known.cursor.seq;
  if (page.next !== last || !isNext(known.cursor, page.events)) {
    return refuse(given.logId === null || known === given ? "out-of-step" : "new-log", followed);
  }
  if (checkpoint.seq < Math.max(newestSeq, known.cursor.seq)) return refuse("rolled-back", followed);
  if (last > page.head) return refuse("malformed", followed);
  return stretch(followed, source, page.events, [known.newest, page.checkpoint], sha256);
}

/** What a stream brought: it has no checkpoint, and the next page's shows whether it held. */
export function receiveStreamed(
  given: Followed,
  source: Source,
  events: readonly PulledEvent[],
  sha256: Sha256,
): FollowStep {
  if (given.equivocation !== null) return { ok: false, code: "equivocation", followed: given };
  if (!isNext(given.cursor, events)) return { ok: false, code: "out-of-step", followed: given };
  return stretch(given, source, events, [given.newest], sha256);
}

/** docs/spec/events.md#events: numbers of an audience have no gap. */
function isNext(cursor: Place, events: readonly PulledEvent[]): boolean {
  return events.every(({ seq }, i) => seq === cursor.seq + i + 1);
}

/** Folds the chain, and holds it against every checkpoint that it passes. */
function stretch(
  followed: Followed,
  source: Source,
  events: readonly PulledEvent[],
  checkpoints: readonly (SignedCheckpoint | null)[],
  sha256: Sha256,
): FollowStep {
  const { logId, cursor, verified } = followed;
  const steps: { place: Place; own: boolean }[] = [];
  let place = cursor;
  for (const { seq, event } of events) {
    place = { seq, chain: nextChain(place.chain, event.content_id, sha256) };
    steps.push({ place, own: event.origin_pubkey === source.publicKey });
  }
  for (const passed of [cursor, ...steps.map((step) => step.place)]) {
    if (checkpoints.every((said) => said === null || holds(said, passed))) continue;
    const back = verified === null ? BEGINNING : { seq: verified.checkpoint.seq, chain: verified.checkpoint.chain };
    return { ok: false, code: "chain-mismatch", followed: { ...followed, cursor: back } };
  }
  return { ok: true, followed: standing(followed), stretch: { logId, from: cursor, steps } };
}

function holds({ checkpoint }: SignedCheckpoint, place: Place): boolean {
  return checkpoint.seq !== place.seq || checkpoint.chain === place.chain;
}

function standing(followed: Followed): Followed {
  const { cursor, newest } = followed;
  const stands = newest !== null && newest.checkpoint.seq === cursor.seq && newest.checkpoint.chain === cursor.chain;
  return stands ? { ...followed, verified: newest } : followed;
}

/**
 * After the log has committed, with one arrival for each event of the stretch. `given` is what is stored now: where
 * another page was first, or the log has another name meanwhile, nothing moves. `stalled`: to be asked for again after
 * `LIMITS.eventStallMs`.
 */
export function advance(
  given: Followed,
  { logId, from, steps }: Stretch,
  arrivals: readonly Arrival[],
): { followed: Followed; stalled: boolean } {
  const { cursor } = given;
  const moved = given.logId !== logId || cursor.seq !== from.seq || cursor.chain !== from.chain;
  if (moved || given.equivocation !== null) return { followed: given, stalled: false };
  const stop = steps.findIndex(({ own }, i) => !isDone(arrivals[i], own));
  const done = steps[(stop === -1 ? steps.length : stop) - 1];
  const followed = done === undefined ? given : standing({ ...given, cursor: done.place });
  return { followed, stalled: stop !== -1 };
}

/**
 * Whether an event needs no second look: it is here, or it will never be acceptable. A clock ahead will be reached. And
 * that the peer's own origin is unknown means that our trust in it ended on the way; it may come back.
 */
function isDone(arrival: Arrival | undefined, own: boolean): boolean {
  if (arrival === undefined) return false;
  if (arrival.ok) return true;
  if (arrival.code === "events/excessive-drift") return false;
  // Once our admin has made room, the peer's own events are pulled again; those of others come from their own origins.
  return !(own && (arrival.code === "events/unknown-origin" || arrival.code === "events/quota-spent"));
}

// ---- being followed

/** Persisted contract: in the peer's `Bond`, one for each audience of our log. */
export interface Sent {
  /** Of our log. */
  readonly logId: string | null;
  /** What the peer said that it has, by its pulls and by its answers to pushes. */
  readonly seq: number;
  /** When the next push may go. It is never given up: the cursor stays. */
  readonly delivery: Delivery;
  /** The most that it asked from: what it has by its own word, whatever it was pushed. */
  readonly asked?: number;
  /** The last number that a stream to it wrote; what was lost on the way it asks for again. */
  readonly written?: number;
  /** It asked from below what it had, and has not come so far again. */
  readonly startedOver?: { readonly seq: number; readonly sinceMs: number } | null;
}

export const NOTHING_SENT: Sent = Object.freeze({ logId: null, seq: 0, delivery: newDelivery(0) });

/** Under another name our log is told from its beginning. */
export function sentIn(sent: Sent, logId: string): Sent {
  return sent.logId === logId ? sent : { ...NOTHING_SENT, logId };
}

/** The `since` of a pull or a stream. One beyond our head is of another log. */
export function acknowledge(sent: Sent, log: { logId: string; head: number }, since: number, nowMs: number): Sent {
  const now = sentIn(sent, log.logId);
  if (since > log.head) return now;
  const { asked = 0, startedOver = null } = now;
  if (since < asked) {
    if (startedOver?.seq === since) return now;
    return { ...now, startedOver: { seq: since, sinceMs: startedOver?.sinceMs ?? nowMs } };
  }
  if (since === asked && startedOver === null) return now;
  return { ...now, seq: Math.max(now.seq, since), asked: since, startedOver: null };
}

/** How far it has our log, for our admin: never less than before, but where it starts over. */
export function hasOfOurs({ seq, written = 0, startedOver }: Sent, streamed: number): number {
  return startedOver ? Math.max(startedOver.seq, streamed) : Math.max(seq, written, streamed);
}

export interface Push {
  readonly logId: string;
  /** Their places in our log, and the last one that this push is about. */
  readonly seqs: readonly number[];
  readonly upTo: number;
  readonly body: PushBody;
}

export type NextPush =
  | { type: "nothing" }
  | { type: "wait"; untilMs: number }
  /** All there is to tell are events of the peer's own: the cursor passes them. */
  | { type: "passed"; sent: Sent }
  | { type: "push"; push: Push };

/** `page` is what our log has after `sentIn(…).seq`; whoever has a stream open with us needs no push. */
export function nextPush(
  given: Sent,
  page: PullAnswer,
  peer: { publicKey: string; streaming: boolean },
  nowMs: number,
): NextPush {
  const { log_id: logId } = page.checkpoint.checkpoint;
  const sent = sentIn(given, logId);
  const { nextAtMs } = sent.delivery;
  if (peer.streaming || page.events[0]?.seq !== sent.seq + 1) return { type: "nothing" };
  // Later than any wait: the wall clock stepped back.
  if (nextAtMs > nowMs && nextAtMs <= nowMs + LIMITS.circuitOpenMs) return { type: "wait", untilMs: nextAtMs };
  const events: PushBody["events"] = [];
  const seqs: number[] = [];
  let [upTo, bytes] = [sent.seq, BODY_BYTES];
  for (const { seq, event, ttl } of page.events) {
    if (event.origin_pubkey !== peer.publicKey) {
      // The shapes of events are ASCII: characters are bytes.
      bytes += JSON.stringify({ event, ttl }).length + 1;
      if (events.length >= LIMITS.eventsPerPush || bytes > LIMITS.federatedBodyBytes) break;
      events.push({ event, ttl });
      seqs.push(seq);
    }
    upTo = seq;
  }
  if (events.length === 0) return { type: "passed", sent: { ...sent, seq: upTo } };
  return { type: "push", push: { logId, seqs, upTo, body: { events } } };
}

const BODY_BYTES = '{"events":[]}'.length;

/**
 * `answer`: what the peer says of the events, taken or not; null where it says nothing of them.
 * An event from the peer's future is pushed again later, what else it refused is passed over.
 */
export function afterPush(
  given: Sent,
  { logId, seqs, upTo, body }: Push,
  answer: PushAnswer | null,
  outcome: Outcome,
  nowMs: number,
  random: number,
): Sent {
  if (given.logId !== null && given.logId !== logId) return given;
  const sent = sentIn(given, logId);
  if (answer === null) return { ...sent, delivery: waiting(sent.delivery, outcome, nowMs, random) };
  const early = new Set(
    answer.errors.filter(({ code }) => code === "events/excessive-drift").map(({ content_id }) => content_id),
  );
  const stop = body.events.findIndex(({ event }) => early.has(event.content_id));
  const seq = Math.max(sent.seq, stop === -1 ? upTo : (seqs[stop] ?? upTo) - 1);
  const delivery = newDelivery(stop === -1 ? nowMs : nowMs + LIMITS.eventStallMs);
  return { ...sent, seq, delivery };
}

function waiting(delivery: Delivery, outcome: Outcome, nowMs: number, random: number): Delivery {
  const step = afterTry(delivery, outcome, nowMs, random);
  const latestMs = nowMs + LIMITS.circuitOpenMs;
  if (step.type !== "retry") return { ...newDelivery(latestMs), tries: LIMITS.deliveryTries - 1 };
  return { ...step.delivery, nextAtMs: Math.min(step.delivery.nextAtMs, latestMs) };
}

// ---- being pushed to

/** docs/spec/events.md#sync: 400 only when nothing was accepted and something was wrong. */
export function answerPush(
  arrivals: readonly Arrival[],
  receiver: { hlc: HybridTime; head: number },
): { status: 200 | 400; body: PushAnswer } {
  const taken = arrivals.filter((each) => each.ok);
  const errors = arrivals.flatMap((each) => (each.ok ? [] : [{ content_id: each.content_id, code: each.code }]));
  const accepted = taken.filter(({ outcome }) => outcome !== "duplicate").length;
  const body: PushAnswer = {
    accepted,
    duplicates: taken.length - accepted,
    rejected: errors.length,
    errors,
    receiver_hlc: receiver.hlc,
    receiver_head_seq: receiver.head,
  };
  return { status: accepted === 0 && errors.length > 0 ? 400 : 200, body };
}
