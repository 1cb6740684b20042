import { bodyOfOpened } from "../../../schema/crypto/signed-event.ts";
import type { SequencedEvent } from "../../events/event-log-rpc.ts";
import { maySee, type Viewer } from "../../events/visibility-rules.ts";

/**
 * Returns the page, if the peer may see all of its events. Every event that goes to a peer passes this check, by push,
 * pull or stream (docs/spec/events.md#sync). An audience contains only events that its readers may see. So a forbidden
 * event is a bug: this function throws, and nothing of the page is sent.
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
