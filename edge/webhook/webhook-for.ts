/** Stubs of the pool's only `Webhook`, each narrowed to what its callers may do. */
import type { Env } from "../env.ts";
import { WEBHOOK } from "../object-names.ts";
import type { WebhookForAdmins, WebhookForBonds, WebhookForPool, WebhookForReaders } from "./webhook-rpc.ts";

type Namespace = Pick<Env, "WEBHOOK">;

export const webhookForBonds = (env: Namespace): DurableObjectStub<WebhookForBonds> => env.WEBHOOK.getByName(WEBHOOK);

export const webhookForAdmins = (env: Namespace): DurableObjectStub<WebhookForAdmins> => env.WEBHOOK.getByName(WEBHOOK);

export const webhookForReaders = (env: Namespace): DurableObjectStub<WebhookForReaders> =>
  env.WEBHOOK.getByName(WEBHOOK);

export const webhookForPool = (env: Namespace): DurableObjectStub<WebhookForPool> => env.WEBHOOK.getByName(WEBHOOK);
