/** When a message to the webhook is tried again, and when the pool gives it up (docs/spec/webhook.md#delivery). */
import { LIMITS } from "../../schema/wire/limits.ts";
import { backoffMs } from "../limits/backoff-rules.ts";
import type { WebhookOutcome } from "./webhook-rpc.ts";

export type WebhookStep =
  | { readonly type: "delivered" }
  /** `tries`: the failed tries so far. */
  | { readonly type: "retry"; readonly tries: number; readonly nextAtMs: number }
  | { readonly type: "given-up"; readonly reason: "gone" | "tries" };

/** The next state of a message after a try. `tries`: its failed tries before. `random` is a number in [0, 1). */
export function afterWebhookTry(tries: number, outcome: WebhookOutcome, nowMs: number, random: number): WebhookStep {
  // Nothing was sent, so it is no try.
  if (outcome.type === "policy-unknown") return { type: "retry", tries, nextAtMs: nowMs + LIMITS.webhookPauseMs };
  if (outcome.type === "answered") {
    if (isDelivered(outcome.status)) return { type: "delivered" };
    if (outcome.status === 410) return { type: "given-up", reason: "gone" };
  }
  const failed = tries + 1;
  if (failed >= LIMITS.webhookTries) return { type: "given-up", reason: "tries" };
  const pauseMs = Math.max(backoffMs(failed, random), requestedPauseMs(outcome));
  return { type: "retry", tries: failed, nextAtMs: nowMs + pauseMs };
}

export function isDelivered(status: number): boolean {
  return status >= 200 && status < 300;
}

/** The pause that an overloaded receiver asks for, within our limit. */
function requestedPauseMs(outcome: WebhookOutcome): number {
  if (outcome.type !== "answered" || (outcome.status !== 429 && outcome.status !== 503)) return 0;
  return Math.min((outcome.retryAfterSeconds ?? 0) * 1_000, LIMITS.deliveryBackoffMaxMs);
}
