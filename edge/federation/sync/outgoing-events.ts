import { fromBase64 } from "../../../schema/crypto/bytes.ts";
import type { EventBody, SignedEvent } from "../../../schema/wire/events.ts";
import type { SequencedEvent } from "../../events/event-ledger.ts";
import { maySee, type Viewer } from "../../events/visibility-rules.ts";

/**
 * The one door through which events leave towards a peer, by push, pull and stream alike (docs/spec/events.md#sync). An audience holds
 * nothing that its readers may not see, so that one here is a bug: it stops everything and does not leak.
 */
export function checkOutgoing<Page extends { events: Pick<SequencedEvent, "event">[] }>(
  page: Page,
  viewer: Viewer,
  self: string,
): Page {
  for (const { event } of page.events) {
    const { visibility, payload, origin } = eventBodyOf(event);
    if (!maySee({ visibility, payload, ours: origin === self }, viewer)) {
      throw new Error("an event was about to leave towards a peer that may not see it");
    }
  }
  return page;
}

/** Of an event of our log, whose bytes were checked before they came in. */
export function eventBodyOf(event: SignedEvent): EventBody {
  return JSON.parse(new TextDecoder().decode(fromBase64(event.event_bytes) ?? new Uint8Array()));
}
