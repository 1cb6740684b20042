import { and, asc, desc, eq, gt, gte, inArray, lt, lte, sql } from "drizzle-orm";
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
  const last = onePage(sizes).at(-1);
  if (!last) return [];
  return db
    .select()
    .from(events)
    .where(and(gt(events.seq, since), lte(events.seq, last.seq)))
    .orderBy(asc(events.seq));
}

/**
 * The events of the record with a number below `before`, the newest first: as many as fit one page, at least one if there is
 * one. `types`: only events of these types.
 */
export async function eventsBefore(
  d1: D1Database,
  { before, types, sinceUs }: { before: number; types: readonly string[] | undefined; sinceUs: number | undefined },
): Promise<EventRow[]> {
  const db = drizzle(d1);
  const wanted = and(
    lt(events.seq, before),
    types && inArray(events.type, [...types]),
    sinceUs === undefined ? undefined : gte(events.hlcPhysicalUs, sinceUs),
  );
  const sizes = await db
    .select({ seq: events.seq, chars: sql<number>`length(${events.bytes})` })
    .from(events)
    .where(wanted)
    .orderBy(desc(events.seq))
    .limit(LIMITS.eventsPerPull);
  const last = onePage(sizes).at(-1);
  if (!last) return [];
  return db
    .select()
    .from(events)
    .where(and(wanted, gte(events.seq, last.seq)))
    .orderBy(desc(events.seq));
}

/** The first of these rows that fit one page. */
function onePage<Row extends { chars: number }>(rows: readonly Row[]): Row[] {
  let chars = 0;
  const beyond = rows.findIndex((each, i) => {
    chars += each.chars;
    return i > 0 && chars > LIMITS.eventsPageChars;
  });
  return rows.slice(0, beyond === -1 ? rows.length : beyond);
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
