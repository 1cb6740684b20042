/** The interfaces of `Webhook`: one for each group of callers. Types only. */
import type { WebhookFailure, WebhookPayload, WebhookStatus } from "../../schema/wire/webhook.ts";
import type { ActingAdmin } from "../admins/admin-tokens-rpc.ts";

/** `id`: the same for each repetition of a message. It contains no full stop (`webhook-messages.ts`). */
export interface WebhookMessage {
  readonly id: string;
  readonly payload: WebhookPayload;
}

/** The outcome of one try: the receiver's answer, or why there was none. */
export type WebhookOutcome =
  | { readonly type: "answered"; readonly status: number; readonly retryAfterSeconds: number | null }
  | { readonly type: "failed"; readonly failure: WebhookFailure }
  /** The policy could not be read, so nothing was sent. */
  | { readonly type: "policy-unknown" };

export interface WebhookForBonds extends Rpc.DurableObjectBranded {
  /**
   * Queues messages for the operator. A message that was queued before is ignored, so a caller may repeat it. While no
   * webhook is set, messages are dropped.
   */
  notify(messages: WebhookMessage[]): void;
}

export interface WebhookForAdmins extends Rpc.DurableObjectBranded {
  /** Messages that wait go to the new URL, as if they had not been tried. */
  set(url: string, secret: string, by: ActingAdmin): Promise<void>;
  /** Drops what waits. False: no webhook was set. */
  remove(by: ActingAdmin): Promise<boolean>;
  /** Sends this message now, once. Null: no webhook is set. */
  sendTest(message: WebhookMessage): Promise<WebhookOutcome | null>;
}

export interface WebhookForReaders extends Rpc.DurableObjectBranded {
  status(): WebhookStatus;
  /** How many events the event log has not confirmed. */
  pendingEvents(): number;
}

/** The cron trigger. */
export interface WebhookForPool extends Rpc.DurableObjectBranded {
  /** Does what is due, and arms the alarm: the runtime drops an alarm that failed too often. */
  wake(): Promise<void>;
}

export interface WebhookRpc extends WebhookForBonds, WebhookForAdmins, WebhookForReaders, WebhookForPool {}
