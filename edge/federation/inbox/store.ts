import { and, desc, eq, gte, inArray, lt, or } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { type AdminRequestRow, adminRequests } from "../../../schema/db/admin-requests.ts";
import { events } from "../../../schema/db/events.ts";
import type { RequestDirection, RequestView } from "../../../schema/wire/admin-requests.ts";

export interface RequestFilter {
  readonly direction?: RequestDirection | undefined;
  readonly status?: readonly RequestView["status"][] | undefined;
  readonly peer?: string | undefined;
  /** Only rows that come after this one. */
  readonly before?: { readonly createdAtMs: number; readonly id: string } | undefined;
  readonly limit: number;
}

/** Requests between admins, the newest first. */
export function listRequests(db: D1Database, filter: RequestFilter): Promise<AdminRequestRow[]> {
  const { direction, status, peer, before, limit } = filter;
  const { createdAtMs, id } = adminRequests;
  return drizzle(db)
    .select()
    .from(adminRequests)
    .where(
      and(
        direction && eq(adminRequests.direction, direction),
        status && inArray(adminRequests.status, [...status]),
        peer === undefined ? undefined : eq(adminRequests.peer, peer),
        before && or(lt(createdAtMs, before.createdAtMs), and(eq(createdAtMs, before.createdAtMs), lt(id, before.id))),
      ),
    )
    .orderBy(desc(createdAtMs), desc(id))
    .limit(limit)
    .all();
}

export function findRequest(
  db: D1Database,
  direction: RequestDirection,
  peer: string,
  requestId: string,
): Promise<AdminRequestRow | undefined> {
  return drizzle(db)
    .select()
    .from(adminRequests)
    .where(eq(adminRequests.id, `${direction}:${peer}:${requestId}`))
    .get();
}

/** Events that this pool has written since `sinceMs` (epoch ms), with a number below `before`; the newest first. */
export function ownEventsOfTypes(
  db: D1Database,
  given: { origin: string; types: readonly string[]; sinceMs: number; before: number; limit: number },
): Promise<{ seq: number; bytes: string }[]> {
  return drizzle(db)
    .select({ seq: events.seq, bytes: events.bytes })
    .from(events)
    .where(
      and(
        inArray(events.type, [...given.types]),
        eq(events.origin, given.origin),
        gte(events.hlcPhysicalUs, given.sinceMs * 1_000),
        lt(events.seq, given.before),
      ),
    )
    .orderBy(desc(events.seq))
    .limit(given.limit)
    .all();
}
