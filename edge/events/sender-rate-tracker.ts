/**
 * Limits how many events one sender may add to the log: one minute's amount at once, then as many per minute
 * (docs/spec/events.md#quotas). Events that the log has already are free, so that sending them again is harmless.
 */
import type { SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { Debts } from "../limits/debt-tracker.ts";

const MINUTE_MS = 60_000;

/** Kept in memory: a restart of the log forgives a sender at most one minute's amount. */
export class SenderRates {
  readonly #debts = new Debts(LIMITS.sendersKept);

  /**
   * How long the sender must wait before it sends more, in ms; 0: it may send now. A page that starts within the rate
   * is taken whole, and charged afterwards.
   */
  waitMs(from: string, nowMs: number): number {
    return this.#debts.waitMs(from, MINUTE_MS, nowMs);
  }

  spend(from: string, events: number, perMinute: number, nowMs: number): void {
    this.#debts.charge(from, (events * MINUTE_MS) / perMinute, nowMs);
  }
}

/** A large event counts as several. */
export function eventsWorth({ event_bytes }: Pick<SignedEvent, "event_bytes">): number {
  return Math.max(1, Math.ceil(event_bytes.length / LIMITS.eventRateChars));
}
