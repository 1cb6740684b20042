import { Hono } from "hono";
import { methodNotAllowed } from "hono/method-not-allowed";
import { AT_START } from "../schema/wire/scheduled.ts";
import { keyRoutes } from "./accounts/routes.ts";
import { adminRoutes } from "./admins/routes.ts";
import { exportRoutes, importRoutes, newLogRoutes } from "./backup/routes.ts";
import { docs } from "./docs/routes.ts";
import type { Env } from "./env.ts";
import { eventRoutes } from "./events/routes.ts";
import { adminKeyRoutes } from "./federation/admin-key-routes.ts";
import { resumePeers, wakePeers } from "./federation/delivery/resume.ts";
import { inboxRoutes } from "./federation/inbox/inbox-routes.ts";
import { identityRoutes } from "./federation/peering/identity-routes.ts";
import { peerRoutes } from "./federation/peering/peer-routes.ts";
import { federationApi, federationRoutes } from "./federation/routes.ts";
import { dated } from "./federation/signing/signed-peer.ts";
import type { AdminEnv, AppEnv } from "./http/app-env.ts";
import { requireAdmin } from "./http/authentication.ts";
import { fail, onError, wrongMethod } from "./http/errors.ts";
import { knownHost } from "./http/known-host.ts";
import { requestId } from "./http/request-id.ts";
import { clientApi } from "./inference/routes.ts";
import { slashingRoutes } from "./market/routes.ts";
import { publishPolicyChanges } from "./pool/pool-policy.ts";
import { poolRoutes } from "./pool/routes.ts";
import { doctorRoutes } from "./status/doctor-routes.ts";
import { countRefusals } from "./status/refusals.ts";
import { status } from "./status/routes.ts";
import { webhookRoutes } from "./webhook/routes.ts";
import { webhookForPool } from "./webhook/webhook-for.ts";
import { workerRoutes, workerSocket } from "./workers/routes.ts";

export { Account } from "./accounts/account-object.ts";
export { AdminTokens } from "./admins/admin-tokens-object.ts";
export { EventLog } from "./events/event-log-object.ts";
export { Bond } from "./federation/bond-object.ts";
export { PeerRegistry } from "./federation/peering/peer-registry-object.ts";
export { Lane } from "./inference/lane-object.ts";
export { SlashingBook } from "./market/slashing-object.ts";
export { PoolPolicy } from "./pool/pool-policy-object.ts";
export { Webhook } from "./webhook/webhook-object.ts";

const admin = new Hono<AdminEnv>()
  .use("*", requireAdmin)
  .route("/admins", adminRoutes)
  .route("/admin-keys", adminKeyRoutes)
  .route("/pool", poolRoutes)
  .route("/doctor", doctorRoutes)
  .route("/events", eventRoutes)
  .route("/export", exportRoutes)
  .route("/federation", federationRoutes)
  .route("/import", importRoutes)
  .route("/new-log", newLogRoutes)
  .route("/keys", keyRoutes)
  .route("/peers", peerRoutes)
  .route("/requests", inboxRoutes)
  .route("/slashing", slashingRoutes)
  .route("/webhook", webhookRoutes)
  .route("/workers", workerRoutes);

const app = new Hono<AppEnv>();
const routes = app
  .use("*", requestId, knownHost)
  .use("/v1/*", countRefusals)
  .use("*", methodNotAllowed({ app, onMethodNotAllowed: wrongMethod }))
  .route("/", status)
  .route("/", docs)
  .use("/api/federation/*", dated)
  .use("/v1/federation/*", dated)
  .route("/api/federation", federationApi)
  .route("/v1/federation", identityRoutes)
  .route("/v1/workers", workerSocket)
  .route("/v1", clientApi)
  .route("/admin/api", admin)
  .notFound((c) => fail(c, "http/not-found"))
  .onError(onError);

/**
 * The handler of the cron trigger. On one machine the runner calls it, also at each start of its runtime (`AT_START`).
 */
const scheduled: ExportedHandlerScheduledHandler<Env> = async (event, env) => {
  const peers = event.cron === AT_START ? resumePeers(env) : wakePeers(env, event.scheduledTime);
  await Promise.all([peers, publishPolicyChanges(env), webhookForPool(env).wake()]);
};

export default Object.assign(routes, { scheduled });
