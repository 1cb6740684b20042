import { signWebhook, webhookKey } from "../../schema/crypto/webhook-signature.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { WebhookFailure } from "../../schema/wire/webhook.ts";
import type { Env } from "../env.ts";
import { callErrorOf, networkFailureOf } from "../http/call-failure.ts";
import { readRetryAfter } from "../http/retry-after-rules.ts";
import { readFederationPolicy } from "../pool/federation-check.ts";
import type { WebhookOutcome } from "./webhook-rpc.ts";
import { isAllowedWebhookUrl } from "./webhook-url-rules.ts";

export interface WebhookTarget {
  readonly url: string;
  readonly secret: string;
}

/** `payload`: the bytes that are sent and signed. */
export interface OutgoingMessage {
  readonly id: string;
  readonly payload: Uint8Array;
}

/**
 * Sends one message to the operator's webhook (docs/spec/webhook.md#delivery), through the network that the policy
 * allows. It follows no redirect, reads nothing of the answer's body, and ends after `LIMITS.webhookCallMs`. It does not
 * depend on the federation switch. Errors are values.
 */
export async function postWebhook(env: Env, target: WebhookTarget, message: OutgoingMessage): Promise<WebhookOutcome> {
  const policy = await readFederationPolicy(env);
  if (policy === null) return { type: "policy-unknown" };
  const allowPrivate = policy.allow_private_webhook;
  if (!isAllowedWebhookUrl(target.url, allowPrivate)) return { type: "failed", failure: "private-address" };
  const request = await signedRequest(target, message);
  // On Cloudflare neither binding exists: `fetch` reaches public addresses only.
  const network = allowPrivate ? env.PRIVATE_NETWORK : env.PUBLIC_NETWORK;
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), LIMITS.webhookCallMs);
  try {
    const init = { ...request, redirect: "manual", signal: abort.signal } as const;
    const response = await (network === undefined ? fetch(target.url, init) : network.fetch(target.url, init));
    await response.body?.cancel();
    const retryAfterSeconds = readRetryAfter(response.headers.get("retry-after"), Date.now());
    return { type: "answered", status: response.status, retryAfterSeconds };
  } catch (error) {
    return { type: "failed", failure: await failureOf(env, error) };
  } finally {
    clearTimeout(timer);
  }
}

async function signedRequest({ secret }: WebhookTarget, { id, payload }: OutgoingMessage) {
  const key = webhookKey(secret);
  if (key === null) throw new Error("the stored secret of the webhook is not valid");
  const timestampSeconds = Math.floor(Date.now() / 1_000);
  return {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "user-agent": "ligand-pool",
      "webhook-id": id,
      "webhook-timestamp": String(timestampSeconds),
      "webhook-signature": await signWebhook(key, id, timestampSeconds, payload),
    },
    body: payload,
  };
}

/** Drops the error's text, which contains names and addresses. */
async function failureOf(env: Env, error: unknown): Promise<WebhookFailure> {
  const cause = callErrorOf(error);
  if (cause === null || typeof cause === "string") return cause ?? "unreachable";
  const code = await networkFailureOf(env, cause.reference).catch(() => null);
  return code === null ? "unreachable" : (code.replace("federation/", "") as WebhookFailure);
}
