import { Hono } from "hono";
import { pullQuery, streamQuery } from "../../../schema/wire/events.ts";
import type { SyncStatus } from "../../../schema/wire/federation.ts";
import { eventLogForBonds } from "../../events/event-log-for.ts";
import { mayRead } from "../../events/visibility-rules.ts";
import { fail } from "../../http/errors.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { bondForPeer } from "../bond-for.ts";
import { type PeerEnv, signedPeer } from "../signing/signed-peer.ts";
import { bondStreamUrl } from "./served-stream.ts";

const READS = { legacy: "reads", touchesEconomy: false, rate: "event", minTrust: 2, isRead: true } as const;

/** Event sync with a peer. The peer's `Bond` answers pulls and pushes, one at a time. */
export const eventSyncRoutes = new Hono<PeerEnv>()
  /**
   * Accepts any trust, because a peer below trust 2 may push a grant. The `Bond` checks the trust that each event
   * needs.
   */
  .post(
    "/events",
    signedPeer({ legacy: "all", touchesEconomy: false, rate: "event", rateBelow2: "grant", minTrust: 0 }),
    async (c) => {
      const pushed = await bondForPeer(c.env, c.var.peer.atomId).push(c.var.body, c.var.policy);
      return pushed.ok ? c.json(pushed.body, pushed.status) : fail(c, pushed.code, pushed);
    },
  )

  .get("/events", signedPeer(READS), async (c) => {
    const query = pullQuery.safeParse(c.req.query());
    if (!query.success) return fail(c, "http/invalid-body", { param: String(query.error.issues[0]?.path[0] ?? "") });
    const pulled = await bondForPeer(c.env, c.var.peer.atomId).pull(query.data, c.var.policy);
    if (!pulled.ok) return fail(c, pulled.code, pulled);
    return c.body(pulled.json, 200, { "content-type": "application/json" });
  })

  .get("/stream", signedPeer(READS), async (c) => {
    const query = streamQuery.safeParse(c.req.query());
    if (!query.success) return fail(c, "http/invalid-body", { param: String(query.error.issues[0]?.path[0] ?? "") });
    const { audience } = query.data;
    const { peer } = c.var;
    if (!mayRead(audience, peer.trust)) return fail(c, "federation/untrusted");
    // Clients of server-sent events resume with this header. It is not signed, but it can only skip events, as `since`
    // can.
    const last = Number(c.req.header("last-event-id"));
    const since =
      c.req.query("since") === undefined && Number.isSafeInteger(last) && last > 0 ? last : query.data.since;
    // Use `fetch`: an RPC would pass the bytes through this request, and the object would notice a closed connection
    // only two writes later.
    const answer = await bondForPeer(c.env, peer.atomId).fetch(bondStreamUrl(audience, since));
    return new Response(answer.body, answer);
  })

  .get(
    "/status",
    signedPeer({ legacy: "reads", touchesEconomy: false, rate: "event", rateBelow2: "request", minTrust: 1 }),
    async (c) => {
      const { peer } = c.var;
      const log = eventLogForBonds(c.env);
      const [{ log_id, hlc }, checkpoints] = await Promise.all([log.heads(), log.checkpoints()]);
      const readable = checkpoints.filter(({ checkpoint }) => mayRead(checkpoint.audience, peer.trust));
      const { atomId: atom_id } = await poolKeys(c.env);
      return c.json({ atom_id, trust: peer.trust, log_id, hlc, checkpoints: readable } satisfies SyncStatus);
    },
  );
