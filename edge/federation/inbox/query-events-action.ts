import { fromBase64 } from "../../../schema/crypto/bytes.ts";
import { QUERYABLE_EVENTS } from "../../../schema/wire/admin-requests.ts";
import { eventBody } from "../../../schema/wire/events.ts";
import { parseJsonBytes } from "../../../schema/wire/json-text.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { eventLogForReaders } from "../../events/event-log-for.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { within } from "../../limits/timeout.ts";
import type { Action } from "./action.ts";
import { type QueryableEvent, queryResult, shownTo } from "./query-events-rules.ts";
import { ownEventsOfTypes } from "./store.ts";

/** Events may be 64 KiB each, and an object has 128 MB. */
const PAGE = 50;

/** Shows this pool's recent events of some types to the peer's admin, newest first. It changes nothing. */
export const queryEvents: Action<"query_events"> = {
  touchesEconomy: false,
  heedsSlashing: false,
  async run(env, { peer, params: { event_types: types = QUERYABLE_EVENTS, limit } }) {
    const sinceMs = Date.now() - LIMITS.queryEventsWindowMs;
    const { atomId: origin } = await poolKeys(env);
    // Events that were just committed may not be in D1 yet.
    await within(LIMITS.recordWaitMs, eventLogForReaders(env).flushRecords());
    const shown = [];
    // Events that concern other peers are skipped, so that one page may not be enough.
    for (let before = Number.MAX_SAFE_INTEGER; shown.length < limit; ) {
      const page = await ownEventsOfTypes(env.DB, { origin, types, sinceMs, before, limit: PAGE });
      for (const { bytes } of page) {
        const event = bodyOf(bytes);
        const visible = event && shownTo(peer, event);
        if (visible && shown.length < limit) shown.push(visible);
      }
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE) break;
      before = last.seq;
    }
    return { ok: true, result: queryResult(shown, types) };
  },
};

function bodyOf(base64: string) {
  const bytes = fromBase64(base64);
  const body = eventBody.safeParse(bytes && parseJsonBytes(bytes)).data;
  if (body === undefined) return null;
  const at = new Date(body.hlc.physical_us / 1_000).toISOString();
  return { type: body.type as QueryableEvent, at, payload: body.payload };
}
