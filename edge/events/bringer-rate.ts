/**
 * How much of others' events one peer may have our log keep (SPEC 4.2): a minute's worth at once, then as many a minute.
 * Pure. What our log has already counts for nothing, so that to send again is harmless.
 */
import type { SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

const MINUTE_MS = 60_000;

/** In memory: a log that was restarted has forgotten what was owed, and that is one minute's worth at most. */
export class BringerRates {
  /** What each has still to wait for, at that time. */
  readonly #debts = new Map<string, { owedMs: number; atMs: number }>();

  /** How long until this peer may bring more; 0: now. What begins in time is taken whole, and paid for afterwards. */
  waitMs(from: string, nowMs: number): number {
    return Math.max(0, Math.ceil(this.#owedMs(from, nowMs) - MINUTE_MS));
  }

  spend(from: string, events: number, perMinute: number, nowMs: number): void {
    const owedMs = this.#owedMs(from, nowMs) + (events * MINUTE_MS) / perMinute;
    if (owedMs > 0) this.#debts.set(from, { owedMs, atMs: nowMs });
    else this.#debts.delete(from);
    if (this.#debts.size > LIMITS.bringersKept) this.#forgetPaid(nowMs);
  }

  /** Whoever owes nothing any more. */
  #forgetPaid(nowMs: number): void {
    for (const from of this.#debts.keys()) if (this.#owedMs(from, nowMs) === 0) this.#debts.delete(from);
  }

  #owedMs(from: string, nowMs: number): number {
    const { owedMs, atMs } = this.#debts.get(from) ?? { owedMs: 0, atMs: nowMs };
    // A wall clock that steps back forgives nothing, and makes nobody wait for it.
    return Math.max(0, owedMs - Math.max(0, nowMs - atMs));
  }
}

/** What an event counts as: a large one is several. */
export function eventsWorth({ event_bytes }: Pick<SignedEvent, "event_bytes">): number {
  return Math.max(1, Math.ceil(event_bytes.length / LIMITS.eventRateChars));
}
