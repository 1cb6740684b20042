import type { ErrorCode } from "../../schema/wire/errors.ts";
import type { Audience, EventBody } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Clock, observe } from "./clock-rules.ts";
import { audiencesOf, mayReceive, mayRelay, ttlOnwards } from "./visibility-rules.ts";

/** The answer of `EventLog` for one event of another pool. */
export type ReceiveResult =
  | { ok: true; content_id: string; outcome: "accepted" | "duplicate" | "held" }
  | { ok: false; content_id: string; code: ReceiveRefusal };
type ReceiveRefusal = Extract<ErrorCode, "events/excessive-drift" | "events/forbidden" | "events/quota-spent">;

export type ReceiveStep =
  /** The event belongs to these audiences, and is relayed with `ttl`. `clock`: our clock afterwards. */
  | { outcome: "accepted"; clock: Clock; audiences: Audience[]; ttl: number }
  | { outcome: "held"; dueUs: number }
  | { outcome: "refused"; code: ReceiveRefusal };

/**
 * Decides what happens to an event that `from` sent and that our log does not have (docs/spec/events.md#clock,
 * docs/spec/events.md#visibility). `held` counts the events that are held already; it is called only if the count
 * matters.
 */
export function receiveEvent(
  clock: Clock,
  { event, ttl, from }: { event: EventBody; ttl: number; from: string },
  { self, held }: { self: string; held: () => { all: number; ofSender: number } },
  wallUs: number,
): ReceiveStep {
  if (!mayReceive(event, { from, self })) return { outcome: "refused", code: "events/forbidden" };
  const seen = observe(clock, event.hlc, wallUs);
  if (seen.outcome === "waits") {
    // A `direct` event is refused instead: its sender retries it.
    if (event.visibility !== "direct" && mayWait(held())) return { outcome: "held", dueUs: seen.dueUs };
  }
  if (seen.outcome !== "now") return { outcome: "refused", code: "events/excessive-drift" };
  const theirs = { visibility: event.visibility, ours: false };
  const onwards = mayRelay(theirs, ttl) ? ttlOnwards(ttl) : 0;
  return { outcome: "accepted", clock: seen.clock, audiences: audiencesOf(theirs, ttl), ttl: onwards };
}

/** One sender cannot use up the space that all senders share. */
function mayWait({ all, ofSender }: { all: number; ofSender: number }): boolean {
  return all < LIMITS.heldEvents && ofSender < LIMITS.heldEventsPerSender;
}
