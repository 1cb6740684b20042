/** What `query_events` shows of an event (docs/spec/federation.md#actions). */
import { utf8 } from "../../../schema/crypto/bytes.ts";
import type { QUERYABLE_EVENTS } from "../../../schema/wire/admin-requests.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

export type QueryableEvent = (typeof QUERYABLE_EVENTS)[number];

/** Members of a payload that the peer's admin may see. Others, such as the id of an admin's token, stay here. */
const SHOWN: Readonly<Record<QueryableEvent, readonly string[]>> = {
  circuit_opened: ["peer", "worker", "model"],
  circuit_closed: ["peer", "worker", "model"],
  worker_joined: ["worker", "models"],
  worker_left: ["worker"],
  peer_handshake: ["peer"],
  overview: [],
  peer_status: [],
};

export interface ShownEvent {
  readonly type: string;
  /** ISO 8601. */
  readonly at: string;
  readonly payload: Readonly<Record<string, unknown>>;
}

/** Null: the event concerns a pool other than the one that asks. */
export function shownTo(peer: string, { type, at, payload }: ShownEvent & { type: QueryableEvent }): ShownEvent | null {
  if ("peer" in payload && payload.peer !== peer) return null;
  const shown = Object.fromEntries(SHOWN[type].flatMap((name) => (name in payload ? [[name, payload[name]]] : [])));
  return { type, at, payload: shown };
}

/** The result, newest event first. It leaves out the oldest events if all of them would not fit into a callback. */
export function queryResult(events: readonly ShownEvent[], types: readonly QueryableEvent[]) {
  const fitting: ShownEvent[] = [];
  let bytes = 1_000;
  for (const event of events) {
    bytes += utf8(JSON.stringify(event)).byteLength + 1;
    if (bytes > LIMITS.actionResultBytes) break;
    fitting.push(event);
  }
  return {
    ok: true,
    events: fitting,
    count: fitting.length,
    is_truncated: fitting.length < events.length,
    whitelist_applied: types,
    window_days: LIMITS.queryEventsWindowMs / 86_400_000,
  };
}
