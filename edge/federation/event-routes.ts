import { Hono } from "hono";
import { pullQuery, pushBody, streamQuery } from "../../schema/wire/events.ts";
import type { SyncStatus } from "../../schema/wire/federation.ts";
import { mayRead, TRUST_FOR_PUBLIC } from "../events/visibility.ts";
import { fail } from "../http/errors.ts";
import { poolKeys } from "../http/pool-keys.ts";
import { EVENT_LOG } from "../http/pool-objects.ts";
import { RefusedKeys } from "../http/refused-keys.ts";
import { takeEvents } from "./incoming.ts";
import { outgoing } from "./outgoing.ts";
import { bondStreamUrl } from "./served-stream.ts";
import { type PeerEnv, signedBody, signedPeer } from "./signed-peer.ts";
import { answerPush } from "./sync-machine.ts";

const READS = { legacy: "reads", rate: "event", minTrust: 2, isRead: true } as const;

/** Of this isolate: peers whose events our log has enough of for now. */
const refusedBringers = new RefusedKeys<{ retryAfterSeconds: number }>();
const TOO_MANY_EVENTS = "Too many events of this peer.";

/** Event sync with a peer (SPEC 4.2). */
export const eventSyncRoutes = new Hono<PeerEnv>()
  /** At any trust: a grant may come from below, one at a time; what else an event needs is asked for each. */
  .post("/events", signedPeer({ legacy: "all", rate: "event", rateBelow2: "grant", minTrust: 0 }), async (c) => {
    const body = signedBody(c, c.var.body, pushBody);
    if (body instanceof Response) return body;
    const { policy, peer } = c.var;
    if (peer.trust < TRUST_FOR_PUBLIC && body.events.length > 1) return fail(c, "federation/untrusted");
    // Before its signatures are verified.
    const refused = refusedBringers.find(peer.atomId, Date.now());
    if (refused) return fail(c, "federation/rate-limited", { message: TOO_MANY_EVENTS, ...refused.refusal });
    const { atomId: self } = await poolKeys(c.env);
    const { arrivals, waitMs, grants } = await takeEvents(c.env, { self, policy }, peer, body.events);
    if (arrivals === null) {
      const refusal = { retryAfterSeconds: Math.ceil(waitMs / 1_000) };
      refusedBringers.remember(peer.atomId, refusal, Date.now());
      return fail(c, "federation/rate-limited", { message: TOO_MANY_EVENTS, ...refusal });
    }
    if (grants.length > 0) await c.env.BOND.getByName(peer.atomId).receiveGrants(grants, policy);
    const { hlc, public: head } = await c.env.EVENT_LOG.getByName(EVENT_LOG).heads();
    // Of what the peer may read: the number of our whole log would tell it of our audit.
    const answer = answerPush(arrivals, { hlc, head: mayRead("public", peer.trust) ? head : 0 });
    return c.json(answer.body, answer.status);
  })

  .get("/events", signedPeer(READS), async (c) => {
    const query = pullQuery.safeParse(c.req.query());
    if (!query.success) return fail(c, "http/invalid-body", { param: String(query.error.issues[0]?.path[0] ?? "") });
    const { audience, since, limit } = query.data;
    const { peer } = c.var;
    if (!mayRead(audience, peer.trust)) return fail(c, "federation/untrusted");
    const { atomId: self } = await poolKeys(c.env);
    const page = outgoing(await c.env.EVENT_LOG.getByName(EVENT_LOG).read(audience, since, limit), peer, self);
    const log = { logId: page.checkpoint.checkpoint.log_id, head: page.head };
    await c.env.BOND.getByName(peer.atomId).acknowledge(audience, log, since);
    return c.json(page);
  })

  .get("/stream", signedPeer(READS), async (c) => {
    const query = streamQuery.safeParse(c.req.query());
    if (!query.success) return fail(c, "http/invalid-body", { param: String(query.error.issues[0]?.path[0] ?? "") });
    const { audience } = query.data;
    const { peer } = c.var;
    if (!mayRead(audience, peer.trust)) return fail(c, "federation/untrusted");
    // Unsigned, and a browser's way to resume: it only ever skips what that reader could have asked to skip.
    const last = Number(c.req.header("last-event-id"));
    const since =
      c.req.query("since") === undefined && Number.isSafeInteger(last) && last > 0 ? last : query.data.since;
    // By `fetch` and not by a call, which would pass the bytes through this request: two more writes until a reader that
    // left is noticed.
    const answer = await c.env.BOND.getByName(peer.atomId).fetch(bondStreamUrl(audience, since));
    return new Response(answer.body, answer);
  })

  .get("/status", signedPeer({ legacy: "reads", rate: "event", minTrust: 1 }), async (c) => {
    const { peer } = c.var;
    const log = c.env.EVENT_LOG.getByName(EVENT_LOG);
    const [{ log_id, hlc }, said] = await Promise.all([log.heads(), log.checkpoints()]);
    const readable = said.filter(({ checkpoint }) => mayRead(checkpoint.audience, peer.trust));
    const { atomId: atom_id } = await poolKeys(c.env);
    return c.json({ atom_id, trust: peer.trust, log_id, hlc, checkpoints: readable } satisfies SyncStatus);
  });
