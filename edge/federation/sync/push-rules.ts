/**
 * How much of our log a peer has, each audience on its own, and what this pool pushes next to a peer that has no stream
 * open (docs/spec/events.md#sync).
 */
import type { PullAnswer, PushAnswer, PushBody } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { afterTry, type Delivery, newDelivery, type Outcome } from "../delivery/delivery-machine.ts";

/** Persisted contract: in the peer's `Bond`, one for each audience of our log. The field names are stored. */
export interface Sent {
  /** The name of our log. */
  readonly logId: string | null;
  /** The number of the last event that the peer is known to have, from its pulls and its answers to pushes. */
  readonly seq: number;
  /** When the next push may be sent. A push is never given up: the cursor stays. */
  readonly delivery: Delivery;
  /** The highest `since` of the peer's pulls and streams. Pushes do not count. */
  readonly asked?: number;
  /** The last number that a stream wrote. If the peer did not get it, the peer asks for it again. */
  readonly written?: number;
  /** Set while the peer has rewound: it asked for events before `asked`, and has not reached `asked` again. */
  readonly startedOver?: { readonly seq: number; readonly sinceMs: number } | null;
}

export const NOTHING_SENT: Sent = Object.freeze({ logId: null, seq: 0, delivery: newDelivery(0) });

/** The state for the log of this name. If our log has a new name, the peer has nothing of it yet. */
export function sentForLog(sent: Sent, logId: string): Sent {
  return sent.logId === logId ? sent : { ...NOTHING_SENT, logId };
}

/**
 * The state after the peer pulled, or opened a stream, from `since`. A `since` beyond our head belongs to another log
 * and is ignored.
 */
export function acknowledge(sent: Sent, log: { logId: string; head: number }, since: number, nowMs: number): Sent {
  const now = sentForLog(sent, log.logId);
  if (since > log.head) return now;
  const { asked = 0, startedOver: rewound = null } = now;
  if (since < asked) {
    if (rewound?.seq === since) return now;
    return { ...now, startedOver: { seq: since, sinceMs: rewound?.sinceMs ?? nowMs } };
  }
  if (since === asked && rewound === null) return now;
  return { ...now, seq: Math.max(now.seq, since), asked: since, startedOver: null };
}

/**
 * The position that our admin sees. It goes back only while the peer has rewound. `streamed`: the last number that the
 * open stream has written, or 0.
 */
export function reportedSeq({ seq, written = 0, startedOver: rewound }: Sent, streamed: number): number {
  return rewound ? Math.max(rewound.seq, streamed) : Math.max(seq, written, streamed);
}

export interface Push {
  readonly logId: string;
  /** The numbers of the pushed events in our log. */
  readonly seqs: readonly number[];
  /** The cursor after a push that succeeds. */
  readonly upTo: number;
  readonly body: PushBody;
}

export type NextPush =
  | { type: "nothing" }
  | { type: "wait"; untilMs: number }
  /** Every pending event is the peer's own, so the cursor skips them. */
  | { type: "skipped"; sent: Sent }
  | { type: "push"; push: Push };

/**
 * What to push next. `page`: the events of our log after `sentForLog(…).seq`. A peer with an open stream needs no push.
 */
export function nextPush(
  given: Sent,
  page: PullAnswer,
  peer: { publicKey: string; streaming: boolean },
  nowMs: number,
): NextPush {
  const { log_id: logId } = page.checkpoint.checkpoint;
  const sent = sentForLog(given, logId);
  const { nextAtMs } = sent.delivery;
  if (peer.streaming || page.events[0]?.seq !== sent.seq + 1) return { type: "nothing" };
  // No wait is longer than `circuitOpenMs`: a later time means that the wall clock stepped back.
  if (nextAtMs > nowMs && nextAtMs <= nowMs + LIMITS.circuitOpenMs) return { type: "wait", untilMs: nextAtMs };
  const events: PushBody["events"] = [];
  const seqs: number[] = [];
  let [upTo, bytes] = [sent.seq, BODY_BYTES];
  for (const { seq, event, ttl } of page.events) {
    if (event.origin_pubkey !== peer.publicKey) {
      // A signed event is ASCII, so characters are bytes.
      bytes += JSON.stringify({ event, ttl }).length + 1;
      if (events.length >= LIMITS.eventsPerPush || bytes > LIMITS.federatedBodyBytes) break;
      events.push({ event, ttl });
      seqs.push(seq);
    }
    upTo = seq;
  }
  if (events.length === 0) return { type: "skipped", sent: { ...sent, seq: upTo } };
  return { type: "push", push: { logId, seqs, upTo, body: { events } } };
}

const BODY_BYTES = '{"events":[]}'.length;

/**
 * The state after a push. `answer`: the peer's verdict on the events; null if it gave none. An event that is ahead of
 * the peer's clock is pushed again later. The cursor passes every other refused event.
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
  const sent = sentForLog(given, logId);
  if (answer === null) return { ...sent, delivery: retryDelivery(sent.delivery, outcome, nowMs, random) };
  const early = new Set(
    answer.errors.filter(({ code }) => code === "events/excessive-drift").map(({ content_id }) => content_id),
  );
  const stop = body.events.findIndex(({ event }) => early.has(event.content_id));
  const seq = Math.max(sent.seq, stop === -1 ? upTo : (seqs[stop] ?? upTo) - 1);
  const delivery = newDelivery(stop === -1 ? nowMs : nowMs + LIMITS.eventStallMs);
  return { ...sent, seq, delivery };
}

function retryDelivery(delivery: Delivery, outcome: Outcome, nowMs: number, random: number): Delivery {
  const step = afterTry(delivery, outcome, nowMs, random);
  const latestMs = nowMs + LIMITS.circuitOpenMs;
  if (step.type !== "retry") return { ...newDelivery(latestMs), tries: LIMITS.deliveryTries - 1 };
  return { ...step.delivery, nextAtMs: Math.min(step.delivery.nextAtMs, latestMs) };
}
