/**
 * The kinds of messages that a pool queues for a peer, and how the peer's answer to each kind is read
 * (docs/spec/federation.md#delivery).
 */
import type { PushAnswer, PushBody } from "../../../schema/wire/events.ts";
import { type Answered, readEventPushAnswer, readGrantAnswer } from "./delivery-answer-rules.ts";
import type { Outcome } from "./delivery-machine.ts";

interface Bodies {
  /** `direct` events, each of which counts by itself, and pushes of event sync. */
  "event push": PushBody;
  /** A grant of trust, the only event in its body. A newer grant takes the place of one that waits. */
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

/** `answer`: what the peer says about the message, taken or not; null where it says nothing about it. */
export interface DeliveryAnswer<Kind extends DeliveryKind> {
  readonly outcome: Outcome;
  readonly answer: Answers[Kind] | null;
}

interface KindRules<Kind extends DeliveryKind> {
  /** `pathname + search`. */
  readonly target: string;
  /** Persisted contract: column `topic` of a queued message. Of one topic only the newest message is kept. */
  readonly topic: string | null;
  readonly read: (answered: Answered) => DeliveryAnswer<Kind>;
}

const KINDS: { readonly [Kind in DeliveryKind]: KindRules<Kind> } = {
  "event push": { target: "/api/federation/events", topic: null, read: readEventPushAnswer },
  grant: { target: "/api/federation/events", topic: "trust_granted", read: readGrantAnswer },
};

export function rulesOf<Kind extends DeliveryKind>(kind: Kind): KindRules<Kind> {
  return KINDS[kind];
}

/** The kind of a queued message, by its stored columns. A queue that an older version wrote has these too. */
export function messageOf(row: { topic: string | null; body: string }): Message {
  const kind = row.topic === KINDS.grant.topic ? "grant" : "event push";
  return { kind, body: JSON.parse(row.body) as PushBody };
}
