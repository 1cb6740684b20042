/**
 * How far this pool has followed a peer's log, each audience on its own, and what a page or a stream changes
 * (docs/spec/events.md#sync). The caller has parsed the pages and verified their checkpoints. Only pulls and streams
 * move the cursor. A push moves no cursor of its receiver, so an event that a push left out is pulled later.
 */
import { equivocation, GENESIS_CHAIN, nextChain } from "../../../schema/crypto/signed-event.ts";
import type { PeerAudience, PullAnswer, PulledEvent, SignedCheckpoint } from "../../../schema/wire/events.ts";
import type { LogPosition } from "../../events/log-machine.ts";
import type { FollowRefusal } from "./follow-refusal-rules.ts";
import type { IncomingResult } from "./incoming-rules.ts";

type Sha256 = (bytes: Uint8Array) => Uint8Array;

/** Persisted contract: in the peer's `Bond`, one for each audience of the peer's log. */
export interface Followed {
  /** Null before the first page. */
  readonly logId: string | null;
  /** The last event that needs no further try, and the hash chain up to it. */
  readonly cursor: LogPosition;
  /** The last checkpoint that confirmed the cursor. Following resumes here when a later checkpoint does not match. */
  readonly verified: SignedCheckpoint | null;
  /** The checkpoint with the highest number. It is ahead of the cursor while there is more to pull. */
  readonly newest: SignedCheckpoint | null;
  /** Two checkpoints that contradict each other. Following stops until our admin lets it resume. */
  readonly equivocation: readonly [SignedCheckpoint, SignedCheckpoint] | null;
}

const BEGINNING: LogPosition = Object.freeze({ seq: 0, chain: GENESIS_CHAIN });

export const NOTHING_FOLLOWED: Followed = Object.freeze({
  logId: null,
  cursor: BEGINNING,
  verified: null,
  newest: null,
  equivocation: null,
});

/** The followed peer and audience. */
export interface Source {
  readonly atomId: string;
  /** Hex. */
  readonly publicKey: string;
  readonly audience: PeerAudience;
}

/** Events that may go to our log, and the cursor after each of them. */
export interface EventBatch {
  readonly logId: string | null;
  readonly start: LogPosition;
  readonly steps: readonly { position: LogPosition; isOwn: boolean }[];
}

/** The caller stores `followed` in both cases. */
export type FollowStep =
  | { ok: true; followed: Followed; batch: EventBatch }
  | { ok: false; code: FollowRefusal; followed: Followed };

/**
 * Checks the answer to a pull, before any of its events goes to our log. The caller has verified the signature of the
 * checkpoint.
 */
export function receivePage(given: Followed, source: Source, page: PullAnswer, sha256: Sha256): FollowStep {
  const { checkpoint } = page.checkpoint;
  const refuse = (code: FollowRefusal, followed: Followed): FollowStep => ({ ok: false, code, followed });
  if (given.equivocation !== null) return refuse("equivocation", given);
  const isOfSource = checkpoint.origin === source.atomId && checkpoint.audience === source.audience;
  if (!isOfSource || checkpoint.seq !== page.head) return refuse("malformed", given);
  const known = checkpoint.log_id === given.logId ? given : { ...NOTHING_FOLLOWED, logId: checkpoint.log_id };
  const earlier = [known.verified, known.newest];
  const contradicted = earlier.find((each) => each && equivocation(each.checkpoint, checkpoint));
  if (contradicted) return refuse("equivocation", { ...known, equivocation: [contradicted, page.checkpoint] });

  const newestSeq = known.newest?.checkpoint.seq ?? 0;
  // Keep the checkpoint of a refused page too: it exposes a peer that later signs another hash for the same number.
  const followed = checkpoint.seq >= newestSeq ? { ...known, newest: page.checkpoint } : known;
  const last = page.events.at(-1)?.seq ?? known.cursor.seq;
  if (page.next !== last || !isNext(known.cursor, page.events)) {
    return refuse(given.logId === null || known === given ? "out-of-step" : "new-log", followed);
  }
  if (checkpoint.seq < Math.max(newestSeq, known.cursor.seq)) return refuse("rolled-back", followed);
  if (last > page.head) return refuse("malformed", followed);
  return batchOf(followed, source, page.events, [known.newest, page.checkpoint], sha256);
}

/** Checks events from a stream. A stream has no checkpoints; the checkpoint of the next page shows whether its events were right. */
export function receiveStreamed(
  given: Followed,
  source: Source,
  events: readonly PulledEvent[],
  sha256: Sha256,
): FollowStep {
  if (given.equivocation !== null) return { ok: false, code: "equivocation", followed: given };
  if (!isNext(given.cursor, events)) return { ok: false, code: "out-of-step", followed: given };
  return batchOf(given, source, events, [given.newest], sha256);
}

/** The numbers of an audience have no gap (docs/spec/events.md#events). */
function isNext(cursor: LogPosition, events: readonly PulledEvent[]): boolean {
  return events.every(({ seq }, i) => seq === cursor.seq + i + 1);
}

/** Extends the hash chain by these events, and compares it with every checkpoint on the way. */
function batchOf(
  followed: Followed,
  source: Source,
  events: readonly PulledEvent[],
  checkpoints: readonly (SignedCheckpoint | null)[],
  sha256: Sha256,
): FollowStep {
  const { logId, cursor, verified } = followed;
  const steps: { position: LogPosition; isOwn: boolean }[] = [];
  let position = cursor;
  for (const { seq, event } of events) {
    position = { seq, chain: nextChain(position.chain, event.content_id, sha256) };
    steps.push({ position, isOwn: event.origin_pubkey === source.publicKey });
  }
  for (const passed of [cursor, ...steps.map((step) => step.position)]) {
    if (checkpoints.every((each) => each === null || agrees(each, passed))) continue;
    const lastGood = verified === null ? BEGINNING : { seq: verified.checkpoint.seq, chain: verified.checkpoint.chain };
    return { ok: false, code: "chain-mismatch", followed: { ...followed, cursor: lastGood } };
  }
  return { ok: true, followed: withVerified(followed), batch: { logId, start: cursor, steps } };
}

function agrees({ checkpoint }: SignedCheckpoint, position: LogPosition): boolean {
  return checkpoint.seq !== position.seq || checkpoint.chain === position.chain;
}

/** When the cursor is exactly at the newest checkpoint, that checkpoint becomes the verified one. */
function withVerified(followed: Followed): Followed {
  const { cursor, newest } = followed;
  const isAtNewest =
    newest !== null && newest.checkpoint.seq === cursor.seq && newest.checkpoint.chain === cursor.chain;
  return isAtNewest ? { ...followed, verified: newest } : followed;
}

/**
 * Moves the cursor after our log has committed a batch. `results` has one entry for each event of the batch. `given` is
 * the state that is stored now: if another page has moved its cursor, or the log has a new name, the cursor stays.
 * `stalled`: an event needs another try, after `LIMITS.eventStallMs`.
 */
export function advance(
  given: Followed,
  { logId, start, steps }: EventBatch,
  results: readonly IncomingResult[],
): { followed: Followed; stalled: boolean } {
  const { cursor } = given;
  const hasMoved = given.logId !== logId || cursor.seq !== start.seq || cursor.chain !== start.chain;
  if (hasMoved || given.equivocation !== null) return { followed: given, stalled: false };
  const stop = steps.findIndex(({ isOwn }, i) => !isDone(results[i], isOwn));
  const done = steps[(stop === -1 ? steps.length : stop) - 1];
  const followed = done === undefined ? given : withVerified({ ...given, cursor: done.position });
  return { followed, stalled: stop !== -1 };
}

/** Whether the cursor may pass an event: our log has it, or no later try can make it acceptable. */
function isDone(result: IncomingResult | undefined, isOwn: boolean): boolean {
  if (result === undefined) return false;
  if (result.ok) return true;
  // Retry: our clock will reach the time of this event.
  if (result.code === "events/excessive-drift") return false;
  // Retry an event of the peer itself: our trust in the peer may return, or our admin may raise the quota. Events of
  // other pools arrive again from their own origins.
  return !(isOwn && (result.code === "events/unknown-origin" || result.code === "events/quota-spent"));
}
