/**
 * How much of others' events one peer may have our log keep: a minute's worth at once, then as many a minute.
 * Pure. What our log has already counts for nothing, so that to send again is harmless.
 */
import type { SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { Debts } from "../limits/debts.ts";

const MINUTE_MS = 60_000;

/** In memory: a log that was restarted has forgotten what was owed, and that is one minute's worth at most. */
export class SenderRates {
  readonly #debts = new Debts(LIMITS.sendersKept);

  /** How long until this peer may bring more; 0: now. What begins in time is taken whole, and paid for afterwards. */
  waitMs(from: string, nowMs: number): number {
    return this.#debts.waitMs(from, MINUTE_MS, nowMs);
  }

  spend(from: string, events: number, perMinute: number, nowMs: number): void {
    this.#debts.charge(from, (events * MINUTE_MS) / perMinute, nowMs);
  }
}

/** What an event counts as: a large one is several. */
export function eventsWorth({ event_bytes }: Pick<SignedEvent, "event_bytes">): number {
  return Math.max(1, Math.ceil(event_bytes.length / LIMITS.eventRateChars));
}
