import { and, asc, eq, gt, lte, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { type CheckpointRow, checkpoints, type EventRow, events } from "../../schema/db/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** The events of the record after this number: as many as fit one page, at least one if there is one. */
export async function eventsAfter(d1: D1Database, since: number): Promise<EventRow[]> {
  const db = drizzle(d1);
  const sizes = await db
    .select({ seq: events.seq, chars: sql<number>`length(${events.bytes})` })
    .from(events)
    .where(gt(events.seq, since))
    .orderBy(asc(events.seq))
    .limit(LIMITS.eventsPerPull);
  let chars = 0;
  const beyond = sizes.findIndex((each, i) => {
    chars += each.chars;
    return i > 0 && chars > LIMITS.eventsPageChars;
  });
  const last = sizes.at(beyond === -1 ? -1 : beyond - 1);
  if (!last) return [];
  return db
    .select()
    .from(events)
    .where(and(gt(events.seq, since), lte(events.seq, last.seq)))
    .orderBy(asc(events.seq));
}

/** Checkpoints of the whole log that this pool has kept, for numbers after `since` and up to `until`. */
export async function checkpointsKept(
  d1: D1Database,
  { origin, since, until }: { origin: string; since: number; until: number },
): Promise<CheckpointRow[]> {
  return drizzle(d1)
    .select()
    .from(checkpoints)
    .where(
      and(
        eq(checkpoints.origin, origin),
        eq(checkpoints.audience, "all"),
        gt(checkpoints.seq, since),
        lte(checkpoints.seq, until),
      ),
    )
    .orderBy(asc(checkpoints.seq))
    .limit(LIMITS.eventsPerPull);
}
