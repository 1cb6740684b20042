import { openEvent } from "../../schema/crypto/signed-event.ts";
import type { EventRow } from "../../schema/db/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { adopt, tick } from "./clock-rules.ts";
import { wireOf } from "./event-ledger.ts";
import type { LogStorage } from "./log-storage.ts";
import { rowBytes } from "./origin-quota-rules.ts";
import type { OriginUsage } from "./origin-usage.ts";
import { audiencesOf } from "./visibility-rules.ts";

/**
 * Appends events of an export under new numbers; the log of the new pool keeps its own name. Types and payloads are not
 * checked, because an earlier or later release may have written them. If one event is not validly signed, appends
 * nothing and returns false.
 */
export async function appendExported(
  env: Parameters<typeof poolKeys>[0],
  rows: readonly EventRow[],
  { log, usage }: { log: LogStorage; usage: OriginUsage },
): Promise<boolean> {
  const { atomId } = await poolKeys(env);
  const opened = await Promise.all(rows.map((row) => openEvent(wireOfRow(row))));
  const events = opened.flatMap((each) => (each.ok ? [each.event] : []));
  if (events.length < rows.length) return false;
  log.commit(() => {
    for (const [i, row] of rows.entries()) {
      const body = events[i];
      if (!body || log.ledger.has(row.contentId)) continue;
      // Do not adopt a time in the future: the log's clock could not go back.
      const nowUs = Date.now() * 1_000;
      const isPast = body.hlc.physical_us <= nowUs + LIMITS.clockDriftMs * 1_000;
      log.clock = isPast ? adopt(log.clock, body.hlc, nowUs) : tick(log.clock, nowUs);
      const kind = { visibility: body.visibility, ours: body.origin === atomId };
      const relayed = row.publicSeq === null ? 0 : 1;
      const ttl = Math.max(0, Math.min(row.ttl, LIMITS.eventTtl));
      const { receivedFrom, takenAtMs } = row;
      if (!kind.ours) usage.add(body.origin, rowBytes(wireOfRow(row)));
      log.add({ wire: wireOfRow(row), body, audiences: audiencesOf(kind, relayed), ttl, receivedFrom, takenAtMs });
    }
  });
  return true;
}

const wireOfRow = (row: EventRow) => wireOf({ ...row, content_id: row.contentId });
