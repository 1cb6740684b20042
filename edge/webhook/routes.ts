import { type Context, Hono } from "hono";
import { newWebhookSecret } from "../../schema/crypto/webhook-signature.ts";
import { setWebhookBody, type WebhookFailure } from "../../schema/wire/webhook.ts";
import type { ActingAdmin } from "../admins/admin-tokens-rpc.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { adminBody } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { readFederationPolicy } from "../pool/federation-check.ts";
import { isDelivered } from "./webhook-delivery-machine.ts";
import { webhookForAdmins, webhookForReaders } from "./webhook-for.ts";
import { webhookTest } from "./webhook-messages.ts";
import type { WebhookOutcome } from "./webhook-rpc.ts";
import { isAllowedWebhookUrl } from "./webhook-url-rules.ts";

/** `/admin/api/webhook`: where the operator hears that something waits (docs/spec/webhook.md). Behind an admin token. */
export const webhookRoutes = new Hono<AdminEnv>()
  .get("/", async (c) => c.json(await webhookForReaders(c.env).status()))

  .put("/", async (c) => {
    const body = await adminBody(c, setWebhookBody);
    if (body instanceof Response) return body;
    const policy = await readFederationPolicy(c.env);
    if (!isAllowedWebhookUrl(body.url, policy?.allow_private_webhook ?? false))
      return fail(c, "webhook/private-address");
    const made = body.secret === undefined ? { secret: newWebhookSecret() } : {};
    await webhookForAdmins(c.env).set(body.url, body.secret ?? made.secret ?? "", acting(c));
    return c.json({ url: body.url, ...made });
  })

  .delete("/", async (c) => {
    const isRemoved = await webhookForAdmins(c.env).remove(acting(c));
    return isRemoved ? c.json({ removed: true }) : fail(c, "webhook/not-set");
  })

  .post("/test", async (c) => {
    const message = webhookTest((await poolKeys(c.env)).atomId, Date.now());
    const outcome = await webhookForAdmins(c.env).sendTest(message);
    return outcome === null ? fail(c, "webhook/not-set") : testAnswer(c, message.id, outcome);
  });

function acting(c: Context<AdminEnv>): ActingAdmin {
  return { name: c.var.admin, tokenId: c.var.adminTokenId };
}

/** What the receiver answered to the test. Its body is not shown, because the URL may lead to any service. */
function testAnswer(c: Context<AdminEnv>, message_id: string, outcome: WebhookOutcome): Response {
  if (outcome.type === "policy-unknown")
    return fail(c, "webhook/failed", { message: "The policy cannot be read now." });
  if (outcome.type === "answered") {
    const { status } = outcome;
    if (isDelivered(status)) return c.json({ message_id, status });
    return fail(c, "webhook/failed", { message: `The webhook answered with status ${status}.` });
  }
  if (outcome.failure === "private-address") return fail(c, "webhook/private-address");
  return fail(c, "webhook/failed", { message: `The webhook gave no answer: ${FAILURES[outcome.failure]}.` });
}

const FAILURES = {
  "no-connection": "there was no connection",
  silent: "it did not answer in time",
  unreachable: "it could not be reached",
  "unknown-host": "its host name is unknown",
  "no-tls": "it does not use TLS",
  "tls-failed": "the TLS handshake failed",
  "untrusted-certificate": "this machine does not trust its certificate",
  "wrong-certificate": "its certificate is for another name",
  "expired-certificate": "its certificate has expired",
} as const satisfies Record<Exclude<WebhookFailure, "private-address">, string>;
