/**
 * The kinds of messages that a pool queues for a peer, and how the peer's answer to each kind is read
 * (docs/spec/federation.md#delivery).
 */
import type * as z from "zod";
import type { adminRequestBody, CallbackBody } from "../../../schema/wire/admin-requests.ts";
import type { PushAnswer, PushBody } from "../../../schema/wire/events.ts";
import { type RequestVerdict, readCallbackAnswer, readRequestAnswer } from "../inbox/request-answer-rules.ts";
import { type Answered, readEventPushAnswer, readGrantAnswer } from "./delivery-answer-rules.ts";
import type { Outcome } from "./delivery-machine.ts";

interface Bodies {
  /** Events of event sync, or one `direct` event. */
  "event push": PushBody;
  /** A grant of trust, as the only event. A newer grant replaces a queued one. */
  grant: PushBody;
  /** A request of our admin to the peer's admin. */
  "admin request": z.input<typeof adminRequestBody>;
  /** Our answer to a request of the peer's admin. */
  callback: CallbackBody;
}

/** Null: the answer contains no verdict. */
interface Answers {
  "event push": PushAnswer | null;
  grant: PushAnswer | null;
  "admin request": RequestVerdict | null;
  callback: null;
}

export type DeliveryKind = keyof Bodies;

export type Message<Kind extends DeliveryKind = DeliveryKind> = {
  [Each in Kind]: { readonly kind: Each; readonly body: Bodies[Each] };
}[Kind];

/** How the peer answered a message. */
export interface DeliveryAnswer<Kind extends DeliveryKind> {
  readonly outcome: Outcome;
  readonly answer: Answers[Kind] | null;
}

interface KindRules<Kind extends DeliveryKind> {
  /** Persisted contract: column `target` of a queued message. `pathname + search`. */
  readonly target: string;
  /**
   * Persisted contract: column `topic` of a queued message. A new message replaces the queued message of the same
   * topic, and the queue always has room for it.
   */
  readonly topic: (body: Bodies[Kind]) => string | null;
  readonly read: (answered: Answered) => DeliveryAnswer<Kind>;
}

const EVENTS = "/api/federation/events";
const GRANT = "trust_granted";

const KINDS: { readonly [Kind in DeliveryKind]: KindRules<Kind> } = {
  "event push": { target: EVENTS, topic: () => null, read: readEventPushAnswer },
  grant: { target: EVENTS, topic: () => GRANT, read: readGrantAnswer },
  "admin request": {
    target: "/v1/federation/admin/request",
    topic: ({ request_id }) => topicOfRequest(request_id),
    read: readRequestAnswer,
  },
  callback: {
    target: "/v1/federation/admin/callback",
    topic: ({ request_id }) => `callback:${request_id}`,
    read: readCallbackAnswer,
  },
};

/** Where a message of this kind is sent, and how its answer is read. */
export function rulesOf<Kind extends DeliveryKind>(kind: Kind): KindRules<Kind> {
  return KINDS[kind];
}

/** The topic of our own request. */
export function topicOfRequest(requestId: string): string {
  return `request:${requestId}`;
}

/** The topic under which a message is queued. */
export function topicOf<Kind extends DeliveryKind>({ kind, body }: { kind: Kind; body: Bodies[Kind] }): string | null {
  return KINDS[kind].topic(body);
}

/** Reads a queued message from its stored columns. A queue that an older version wrote has these columns too. */
export function messageOf(row: { target: string; topic: string | null; body: string }): Message {
  return { kind: kindOf(row), body: JSON.parse(row.body) } as Message;
}

function kindOf({ target, topic }: { target: string; topic: string | null }): DeliveryKind {
  if (target === KINDS.callback.target) return "callback";
  if (target === KINDS["admin request"].target) return "admin request";
  return topic === GRANT ? "grant" : "event push";
}

/** The events that a message carries. */
export function eventsIn(message: Message): PushBody["events"] {
  return message.kind === "event push" || message.kind === "grant" ? message.body.events : [];
}
