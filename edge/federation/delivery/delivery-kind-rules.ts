/**
 * The kinds of messages that a pool queues for a peer, and how the peer's answer to each kind is read
 * (docs/spec/federation.md#delivery).
 */
import type { PushAnswer, PushBody } from "../../../schema/wire/events.ts";
import { type Answered, readEventPushAnswer, readGrantAnswer } from "./delivery-answer-rules.ts";
import type { Outcome } from "./delivery-machine.ts";

interface Bodies {
  /** Events of event sync, or one `direct` event. */
  "event push": PushBody;
  /** A grant of trust, as the only event. A newer grant replaces a queued one. */
  grant: PushBody;
}

interface Answers {
  "event push": PushAnswer;
  grant: PushAnswer;
}

export type DeliveryKind = keyof Bodies;

export type Message<Kind extends DeliveryKind = DeliveryKind> = {
  [Each in Kind]: { readonly kind: Each; readonly body: Bodies[Each] };
}[Kind];

/** `answer`: the peer's verdict on the events; null if the answer contains none. */
export interface DeliveryAnswer<Kind extends DeliveryKind> {
  readonly outcome: Outcome;
  readonly answer: Answers[Kind] | null;
}

interface KindRules<Kind extends DeliveryKind> {
  /** `pathname + search`. */
  readonly target: string;
  /**
   * Persisted contract: column `topic` of a queued message. A new message replaces the queued message of the same
   * topic.
   */
  readonly topic: string | null;
  readonly read: (answered: Answered) => DeliveryAnswer<Kind>;
}

const KINDS: { readonly [Kind in DeliveryKind]: KindRules<Kind> } = {
  "event push": { target: "/api/federation/events", topic: null, read: readEventPushAnswer },
  grant: { target: "/api/federation/events", topic: "trust_granted", read: readGrantAnswer },
};

/** Where a message of this kind is sent, and how its answer is read. */
export function rulesOf<Kind extends DeliveryKind>(kind: Kind): KindRules<Kind> {
  return KINDS[kind];
}

/** Reads a queued message from its stored columns. A queue that an older version wrote has these columns too. */
export function messageOf(row: { topic: string | null; body: string }): Message {
  const kind = row.topic === KINDS.grant.topic ? "grant" : "event push";
  return { kind, body: JSON.parse(row.body) as PushBody };
}
