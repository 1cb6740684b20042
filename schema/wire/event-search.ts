/** The operator's search in the log: `/admin/api/events/search` (docs/spec/events.md#searching). */
import * as z from "zod";
import { requestId } from "./admin-requests.ts";
import type { EventType } from "./event-registry.ts";
import { atomId, type EventBody, eventType, sequencedEvent } from "./events.ts";
import { LIMITS } from "./limits.ts";

export const eventSearchQuery = z.strictObject({
  type: eventType.optional(),
  /** Events that concern this pool, and its own events. */
  peer: atomId.optional(),
  /** Events that concern this request between admins. */
  request: requestId.optional(),
  /** No event whose time is earlier: microseconds since the epoch. */
  since_us: z.coerce.number().int().nonnegative().optional(),
  /** Only events with a lower number. */
  before: z.coerce.number().int().positive().optional(),
  limit: z.coerce.number().int().positive().max(LIMITS.eventsPerPull).default(50),
});
export type EventSearch = z.infer<typeof eventSearchQuery>;

/** The newest first. `next`: the `before` of the next page; null at the beginning of the log. A page may be empty. */
export const eventSearchPage = z.strictObject({ events: z.array(sequencedEvent), next: z.int().nullable() });

/** The types whose payload may name a request between admins. */
export const REQUEST_TYPES = [
  "request_received",
  "request_decided",
  "request_executed",
  "request_called_back",
  "request_sent",
  "request_answered",
  "texts_erased",
  "circuits_reset",
] as const satisfies readonly EventType[];

const naming = z.object({ peer: z.string().optional(), request_id: z.string().optional() });
const named = z.object({ ...naming.shape, of: naming.nullish(), request: naming.nullish() });

/** Whether an event is one that the search asks for, apart from its number. */
export function isSearched(
  event: Omit<EventBody, "v">,
  { type, peer, request, since_us }: Omit<EventSearch, "limit">,
): boolean {
  if (type !== undefined && event.type !== type) return false;
  if (since_us !== undefined && event.hlc.physical_us < since_us) return false;
  if (peer === undefined && request === undefined) return true;
  const names = named.safeParse(event.payload).data;
  const places = [names, names?.of, names?.request];
  const isAbout = places.some(
    (place) => (peer === undefined || place?.peer === peer) && (request === undefined || place?.request_id === request),
  );
  return isAbout || (request === undefined && event.origin === peer);
}
