import { Hono } from "hono";
import { changeFederationPolicyBody } from "../../schema/wire/federation.ts";
import { eventLogForReaders } from "../events/event-log-for.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { requireAdmin } from "../http/authentication.ts";
import { adminBody } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { changeFederationPolicy, readFederationPolicy } from "../pool/federation-check.ts";
import { publishPolicyChanges } from "../pool/pool-policy.ts";
import { resumePeers } from "./delivery/resume.ts";
import { ownCard, ownIdentityCard } from "./peering/own-card.ts";
import { registryForReaders } from "./peering/peer-registry-for.ts";
import { peerRoutes } from "./peering/peer-routes.ts";
import { registrationRoutes } from "./peering/registration-routes.ts";
import { listPeers } from "./peering/store.ts";
import { flushPeerRefusals } from "./signing/refusal-counters.ts";
import { countRefusedRequests, type FederatedEnv, federated } from "./signing/signed-peer.ts";
import { eventSyncRoutes } from "./sync/event-routes.ts";

/**
 * `/api/federation`. Each route checks the federation switch: unsigned routes by `federated`, the others in
 * `signed-peer.ts`.
 */
export const federationApi = new Hono<FederatedEnv>()
  .use("*", countRefusedRequests)
  .get("/identity", federated({ touchesEconomy: false }), async (c) => c.json(await ownIdentityCard(c.env, c.req.url)))
  .route("/", registrationRoutes)
  .route("/", eventSyncRoutes)
  .route(
    "/peers",
    new Hono<FederatedEnv & AdminEnv>()
      .use("*", requireAdmin, federated({ touchesEconomy: false }))
      .route("/", peerRoutes),
  );

/**
 * `/admin/api/federation`: the switches (docs/spec/federation.md#switches), for the operator. These routes work while
 * federation is off.
 */
export const federationRoutes = new Hono<AdminEnv>()
  .get("/", async (c) => {
    const policy = await readFederationPolicy(c.env);
    if (policy === null) return fail(c, "pool/not-ready");
    await flushPeerRefusals(c.env);
    const log = eventLogForReaders(c.env);
    const [card, peers, heads, origins, { unfollowable, refused }] = await Promise.all([
      ownCard(c.env, c.req.url),
      listPeers(c.env.DB),
      log.heads(),
      log.origins(),
      registryForReaders(c.env).census(),
    ]);
    const count = (level: number) => peers.filter((peer) => peer.effective >= level).length;
    return c.json({
      policy,
      card,
      peers: { known: peers.length, accepted: count(2), bonded: count(3) },
      awaiting_admin: peers.filter((peer) => peer.awaitsAdmin !== null).map((peer) => peer.id),
      unfollowable,
      events: heads,
      origins: origins.map(({ atomId, events, bytes }) => ({ atom_id: atomId, events, bytes })),
      refused_requests: refused,
    });
  })

  .patch("/", async (c) => {
    const body = await adminBody(c, changeFederationPolicyBody);
    if (body instanceof Response) return body;
    const change = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined));
    const changed = await changeFederationPolicy(c.env, change, c.var.adminTokenId);
    if (!changed.ok) return fail(c, changed.code);
    const { policy, isChanged } = changed;
    await publishPolicyChanges(c.env);
    if (isChanged && policy.federation === "on") c.executionCtx.waitUntil(resumePeers(c.env));
    return c.json({ policy });
  });
