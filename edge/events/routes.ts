import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { nodeIdOf } from "../../schema/crypto/signed-event.ts";
import type { CheckpointRow, EventRow } from "../../schema/db/events.ts";
import { eventSearchQuery } from "../../schema/wire/event-search.ts";
import { eventsQuery, type RecordedEvent, type SignedCheckpoint } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { fail } from "../http/errors.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { eventLogForAdmins, eventLogForReaders } from "./event-log-for.ts";
import { searchEvents } from "./event-search.ts";
import { checkpointsKept, eventsAfter } from "./store.ts";

/** `/admin/api/events`: the whole log, for its operator (docs/spec/events.md#reading). Mounted behind an admin token. */
export const eventRoutes = new Hono<AdminEnv>()
  /** Without `since`, the newest page. */
  .get("/", async (c) => {
    const query = eventsQuery.safeParse(c.req.query());
    if (!query.success) return fail(c, "http/invalid-body", { param: String(query.error.issues[0]?.path[0] ?? "") });
    const { audience, limit, since } = query.data;
    const log = eventLogForReaders(c.env);
    return c.json(await log.read(audience, since ?? Math.max(0, (await log.heads())[audience] - limit), limit));
  })

  /** Server-sent events after `since`, or from now on. A client that resumes with the last id gets each event once. */
  .get("/stream", (c) => {
    const query = eventsQuery.safeParse({
      ...c.req.query(),
      ...(c.req.header("last-event-id") !== undefined && { since: c.req.header("last-event-id") }),
    });
    if (!query.success) return fail(c, "http/invalid-body", { param: String(query.error.issues[0]?.path[0] ?? "") });
    const { audience, since } = query.data;
    const log = eventLogForReaders(c.env);
    return streamSSE(c, async (stream) => {
      const endMs = Date.now() + LIMITS.eventStreamMs;
      let at = since ?? (await log.heads())[audience];
      // The first byte shows the client that the stream is open.
      await stream.write(": following\n\n");
      while (!stream.aborted && Date.now() < endMs) {
        const head = await log.changed(audience, at, LIMITS.eventsWaitMs);
        if (head <= at) await stream.write(": nothing new\n\n");
        while (head > at && !stream.aborted) {
          const { events, next } = await log.read(audience, at, LIMITS.eventsPerPull);
          for (const each of events) await stream.writeSSE({ id: String(each.seq), data: JSON.stringify(each) });
          if (next === at) break;
          at = next;
        }
      }
    });
  })

  /** The events that the query asks for, the newest first. One call reads `LIMITS.eventSearchPages` pages of D1 at most. */
  .get("/search", async (c) => {
    const query = eventSearchQuery.safeParse(c.req.query());
    if (!query.success) return fail(c, "http/invalid-body", { param: String(query.error.issues[0]?.path[0] ?? "") });
    if (!(await eventLogForReaders(c.env).flushRecords())) return fail(c, "pool/not-ready");
    return c.json(await searchEvents(c.env.DB, query.data));
  })

  /** The admin confirms that this machine's clock is right, so that the log takes events again. */
  .post("/confirm-clock", async (c) => {
    return c.json(await eventLogForAdmins(c.env).confirmClock(c.var.adminTokenId));
  })

  /** The rows of D1, page by page, beside the log's own checkpoints. `ligand events verify` validates them. */
  .get("/verify", async (c) => {
    const since = Number(c.req.query("since") ?? 0);
    if (!Number.isSafeInteger(since) || since < 0) return fail(c, "http/invalid-body", { param: "since" });
    const log = eventLogForReaders(c.env);
    const [checkpoints, starts] = await Promise.all([log.checkpoints(), log.starts()]);
    if (!(await log.flushRecords())) return fail(c, "pool/not-ready");
    const { atomId: origin, signer } = await poolKeys(c.env);
    const rows = await eventsAfter(c.env.DB, since);
    const until = rows.at(-1)?.seq ?? since;
    const kept = await checkpointsKept(c.env.DB, { origin, since, until });
    return c.json({
      origin,
      checkpoints,
      events: rows.map(recorded),
      kept: kept.map((row) => checkpointOf(row, nodeIdOf(signer.publicKey))),
      next: until,
      ...(starts.public + starts.peers > 0 && { starts }),
    });
  });

function recorded(row: EventRow): RecordedEvent {
  return {
    seq: row.seq,
    public_seq: row.publicSeq,
    peers_seq: row.peersSeq,
    chain: row.chain,
    type: row.type,
    origin: row.origin,
    visibility: row.visibility,
    hlc: { physical_us: row.hlcPhysicalUs, logical: row.hlcLogical },
    event: {
      event_bytes: row.bytes,
      origin_pubkey: row.pubkey,
      signature: row.signature,
      content_id: row.contentId,
    },
  };
}

/** The signed checkpoint of a row. */
function checkpointOf(row: CheckpointRow, nodeId: string): SignedCheckpoint {
  return {
    checkpoint: {
      v: 1,
      type: "checkpoint",
      origin: row.origin,
      log_id: row.logId,
      audience: row.audience,
      seq: row.seq,
      chain: row.chain,
      hlc: { physical_us: row.hlcPhysicalUs, logical: row.hlcLogical, node_id: nodeId },
    },
    origin_pubkey: row.pubkey,
    signature: row.signature,
  };
}
