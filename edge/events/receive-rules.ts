import type { ErrorCode } from "../../schema/wire/errors.ts";
import type { Audience, EventBody } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Clock, observe } from "./clock-rules.ts";
import { audiencesOf, mayReceive, mayRelay, ttlOnwards } from "./visibility-rules.ts";

/** What `EventLog` answers to an event of another pool. */
export type ReceiveResult =
  | { ok: true; content_id: string; outcome: "accepted" | "duplicate" | "held" }
  | { ok: false; content_id: string; code: ReceiveRefusal };
type ReceiveRefusal = Extract<ErrorCode, "events/excessive-drift" | "events/forbidden" | "events/quota-spent">;

export type ReceiveStep =
  /** At the end of each of these audiences, to be passed on with `ttl`; `clock` is ours afterwards. */
  | { outcome: "accepted"; clock: Clock; audiences: Audience[]; ttl: number }
  | { outcome: "held"; dueUs: number }
  | { outcome: "refused"; code: ReceiveRefusal };

/**
 * What becomes of an event that `from` brought, and that our log does not have (docs/spec/events.md#events, docs/spec/events.md#sync). Pure: `wallUs` comes in;
 * `held`, how many events wait for our clock already, of all and of those that `from` brought, is asked only where it matters.
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
    // What is for us alone is of use only when it comes, and its sender tries again.
    if (event.visibility !== "direct" && mayWait(held())) return { outcome: "held", dueUs: seen.dueUs };
  }
  if (seen.outcome !== "now") return { outcome: "refused", code: "events/excessive-drift" };
  const theirs = { visibility: event.visibility, ours: false };
  const onwards = mayRelay(theirs, ttl) ? ttlOnwards(ttl) : 0;
  return { outcome: "accepted", clock: seen.clock, audiences: audiencesOf(theirs, ttl), ttl: onwards };
}

/** One peer alone does not fill the room that all share. */
function mayWait({ all, ofSender }: { all: number; ofSender: number }): boolean {
  return all < LIMITS.heldEvents && ofSender < LIMITS.heldEventsPerSender;
}
