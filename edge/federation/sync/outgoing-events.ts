import { bodyOfOpened } from "../../../schema/crypto/signed-event.ts";
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
    const { visibility, payload, origin } = bodyOfOpened(event);
    if (!maySee({ visibility, payload, ours: origin === self }, viewer)) {
      throw new Error("an event was about to be sent to a peer that may not see it");
    }
  }
  return page;
}
