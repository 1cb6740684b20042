import type * as z from "zod";
import { fromBase64 } from "../../schema/crypto/bytes.ts";
import type { EventRow } from "../../schema/db/events.ts";
import { type EventSearch, type eventSearchPage, isSearched, REQUEST_TYPES } from "../../schema/wire/event-search.ts";
import { eventBody } from "../../schema/wire/events.ts";
import { parseJsonBytes } from "../../schema/wire/json-text.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { eventsBefore } from "./store.ts";

/**
 * One page of a search (docs/spec/events.md#searching). A peer or a request is named inside the signed bytes, where D1 has no
 * index, so this reads the record backwards. A request narrows the types, which have one.
 */
export async function searchEvents(db: D1Database, search: EventSearch): Promise<z.infer<typeof eventSearchPage>> {
  const ofRequest = search.request === undefined ? undefined : REQUEST_TYPES;
  const types = search.type === undefined ? ofRequest : [search.type];
  const found: EventRow[] = [];
  let before = search.before ?? Number.MAX_SAFE_INTEGER;
  for (let pages = 0; pages < LIMITS.eventSearchPages; pages++) {
    const rows = await eventsBefore(db, { before, types, sinceUs: search.since_us });
    for (const row of rows) {
      before = row.seq;
      if (matches(row, search)) found.push(row);
      if (found.length === search.limit) return { events: found.map(shown), next: before };
    }
    if (rows.length === 0) return { events: found.map(shown), next: null };
  }
  return { events: found.map(shown), next: before };
}

function matches(row: EventRow, search: EventSearch): boolean {
  const bytes = fromBase64(row.bytes);
  const body = eventBody.safeParse(bytes && parseJsonBytes(bytes));
  return body.success && isSearched(body.data, search);
}

function shown({ seq, ttl, bytes, pubkey, signature, contentId }: EventRow) {
  return { seq, ttl, event: { event_bytes: bytes, origin_pubkey: pubkey, signature, content_id: contentId } };
}
