/**
 * Time that is owed, by who owes it; it is paid as time goes by. Kept in memory: after a restart nobody owes anything.
 * Pure: the time comes in.
 */
export class Debts {
  readonly #debts = new Map<string, { owedMs: number; atMs: number }>();
  readonly #kept: number;

  /** `kept`: beyond so many, those who owe nothing any more are forgotten. */
  constructor(kept: number) {
    this.#kept = kept;
  }

  /** For tests: how many are remembered. */
  get size(): number {
    return this.#debts.size;
  }

  /**
   * Each look settles what was paid until now. So a wall clock that steps back forgives nothing and adds nothing: the
   * rest of the debt is paid from the new time on, and nobody waits until the clock is where it was.
   */
  owedMs(who: string, nowMs: number): number {
    const debt = this.#debts.get(who);
    if (debt === undefined) return 0;
    debt.owedMs = Math.max(0, debt.owedMs - Math.max(0, nowMs - debt.atMs));
    debt.atMs = nowMs;
    return debt.owedMs;
  }

  add(who: string, ms: number, nowMs: number): void {
    const owedMs = this.owedMs(who, nowMs) + ms;
    if (owedMs > 0) this.#debts.set(who, { owedMs, atMs: nowMs });
    else this.#debts.delete(who);
    if (this.#debts.size > this.#kept) this.#forgetPaid(nowMs);
  }

  #forgetPaid(nowMs: number): void {
    for (const who of this.#debts.keys()) if (this.owedMs(who, nowMs) === 0) this.#debts.delete(who);
  }
}
