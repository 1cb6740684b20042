import { fromBase64 } from "../../../schema/crypto/bytes.ts";
import type { EventBody, SignedEvent } from "../../../schema/wire/events.ts";
import type { SequencedEvent } from "../../events/event-log-rpc.ts";
import { maySee, type Viewer } from "../../events/visibility-rules.ts";

/**
 * Every event that leaves towards a peer passes here, by push, pull or stream (docs/spec/events.md#sync). An audience holds
 * only events that its readers may see. An event that the peer may not see is therefore a bug: this function throws, and
 * nothing of the page leaves.
 */
export function checkOutgoing<Page extends { events: Pick<SequencedEvent, "event">[] }>(
  page: Page,
  viewer: Viewer,
  self: string,
): Page {
  for (const { event } of page.events) {
    const { visibility, payload, origin } = eventBodyOf(event);
    if (!maySee({ visibility, payload, ours: origin === self }, viewer)) {
      throw new Error("an event was about to be sent to a peer that may not see it");
    }
  }
  return page;
}

/** The body of an event of our log. Its bytes were checked before the log took it. */
export function eventBodyOf(event: SignedEvent): EventBody {
  return JSON.parse(new TextDecoder().decode(fromBase64(event.event_bytes) ?? new Uint8Array()));
}
