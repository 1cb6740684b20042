/** The operator's webhook: the messages that it gets, and the bodies of `/admin/api/webhook` (docs/spec/webhook.md). */
import * as z from "zod";
import { webhookKey } from "../crypto/webhook-signature.ts";
import { actionType, requestId, requestStatus } from "./admin-requests.ts";
import { atomId } from "./events.ts";
import { LIMITS } from "./limits.ts";
import { networkFailure } from "./network-failure.ts";

// ---- Messages

const timestamp = z.iso.datetime();

/** It names the request and no more: the receiver may be a chat tool, which a stranger's text must not reach. */
const waitingRequest = z.strictObject({
  peer: atomId,
  request_id: requestId,
  action: actionType,
  status: requestStatus,
  expires_at: timestamp,
});

/** The body of each message. */
export const webhookPayload = z.discriminatedUnion("type", [
  /** A peer's admin asks for something, and our admin has to decide. */
  z.strictObject({ type: z.literal("admin_request.received"), timestamp, data: waitingRequest }),
  /** As above, and a slashing event is open. */
  z.strictObject({ type: z.literal("admin_request.blocked"), timestamp, data: waitingRequest }),
  /** Our admin tests the webhook. */
  z.strictObject({ type: z.literal("webhook.test"), timestamp, data: z.strictObject({ pool: atomId }) }),
]);
export type WebhookPayload = z.infer<typeof webhookPayload>;

// ---- Bodies of admins

/** A webhook's URL, as the URL standard writes it; null for any other text. */
export function normalisedWebhookUrl(text: string): string | null {
  if (text.length > LIMITS.webhookUrlChars || !/^https?:\/\//i.test(text) || text.includes("#")) return null;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.username !== "" || url.password !== "") return null;
  return url.href.length > LIMITS.webhookUrlChars ? null : url.href;
}

/** http(s), without credentials and fragment. */
const webhookUrl = z.string().transform((text, context) => {
  const url = normalisedWebhookUrl(text);
  if (url === null) context.addIssue({ code: "custom", message: "must be an http(s) URL without credentials" });
  return url ?? z.NEVER;
});

/** `whsec_` and the base64 of 24 to 64 bytes. */
const webhookSecret = z.string().refine((text) => webhookKey(text) !== null);

/** Without a secret the pool makes one. */
export const setWebhookBody = z.strictObject({ url: webhookUrl, secret: webhookSecret.optional() });

// ---- Answers for admins, as clients read them

/** Why the receiver gave no answer. */
export const webhookFailure = z.enum([
  "no-connection",
  "silent",
  "unreachable",
  ...networkFailure.options.map((code) => code.replace("federation/", "") as WithoutArea<typeof code>),
]);
export type WebhookFailure = z.infer<typeof webhookFailure>;
type WithoutArea<Code extends string> = Code extends `federation/${infer Name}` ? Name : never;

/** One try. `status`: of the receiver's answer; null if there was none, and then `failure` says why. */
export const webhookTry = z.object({
  message_id: z.string(),
  at: z.string(),
  delivered: z.boolean(),
  status: z.number().nullable(),
  failure: z.string().nullable(),
});
export type WebhookTry = z.infer<typeof webhookTry>;

/** `webhook` is null if none is set. The secret is never in it. `last`: the last try; null if there was none. */
export const webhookStatus = z.object({
  webhook: z
    .object({
      url: z.string(),
      set_by: z.string(),
      set_at: z.string(),
      waiting: z.number(),
      last: webhookTry.nullable(),
    })
    .nullable(),
});
export type WebhookStatus = z.infer<typeof webhookStatus>;

/** `secret`: only if the pool made it. It is shown only here. */
export const setWebhook = z.object({ url: z.string(), secret: z.string().optional() });

/** The receiver took the test message. `status`: of its answer. */
export const testedWebhook = z.object({ message_id: z.string(), status: z.number() });

export const removedWebhook = z.object({ removed: z.literal(true) });
