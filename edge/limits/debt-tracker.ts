import { BoundedMap } from "./bounded-map.ts";
import { type Debt, payDebt, waitMs } from "./gcra-rules.ts";

/** A millisecond is paid in a millisecond. */
const REAL_TIME = { burst: 1, periodMs: 1 };

/**
 * A rate limit for each of many callers, in memory: the time that each owes, by the rules of `gcra-rules.ts`. After a
 * restart nobody owes anything. Every reading stores what was paid until then, so that a wall clock which steps back
 * neither forgives a debt nor makes it longer.
 */
export class Debts {
  readonly #debts: BoundedMap<string, Debt>;

  /** `most`: so many debtors are remembered; those who owe nothing are forgotten first, then the oldest. */
  constructor(most: number) {
    this.#debts = new BoundedMap(most);
  }

  /** For tests: how many are remembered. */
  get size(): number {
    return this.#debts.size;
  }

  /** How long until the caller owes no more than `allowedMs`; 0: now. */
  waitMs(caller: string, allowedMs: number, nowMs: number): number {
    return waitMs(this.#owedMs(caller, nowMs), allowedMs);
  }

  /** Adds a cost, whatever is owed already. */
  charge(caller: string, costMs: number, nowMs: number): void {
    this.#save(caller, this.#owedMs(caller, nowMs) + costMs, nowMs);
  }

  /** Charges the cost where the caller then owes no more than `allowedMs`, and returns 0; otherwise returns the wait. */
  take(caller: string, costMs: number, allowedMs: number, nowMs: number): number {
    const ms = this.waitMs(caller, allowedMs - costMs, nowMs);
    if (ms === 0) this.charge(caller, costMs, nowMs);
    return ms;
  }

  #owedMs(caller: string, nowMs: number): number {
    const debt = this.#debts.get(caller);
    if (debt === undefined) return 0;
    const rest = payDebt(debt, REAL_TIME, nowMs);
    this.#save(caller, rest.owed, nowMs);
    return rest.owed;
  }

  #save(caller: string, owed: number, atMs: number): void {
    if (owed === 0) {
      this.#debts.delete(caller);
      return;
    }
    if (this.#debts.isFull) this.#debts.deleteWhere((debt) => payDebt(debt, REAL_TIME, atMs).owed === 0);
    this.#debts.set(caller, { owed, atMs });
  }
}
