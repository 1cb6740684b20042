/**
 * What the pool may still believe it can send us: the slots of our last `ready`, less the jobs that came since. While
 * that is plenty, a slot that becomes free can be told together with the next ones, and costs the pool no frame of its
 * own. Pure but for its own numbers.
 */
export class PoolCredit {
  readonly #left = new Map<string, number>();

  announced(slots: readonly { model: string; free: number }[]): void {
    for (const { model, free } of slots) this.#left.set(model, free);
  }

  jobReceived(model: string): void {
    this.#left.set(model, Math.max(0, (this.#left.get(model) ?? 0) - 1));
  }

  /** Whether the pool knows of at least half of what is free, for every model. */
  isPlenty(slots: readonly { model: string; free: number }[]): boolean {
    return slots.every(({ model, free }) => (this.#left.get(model) ?? 0) * 2 >= free && free > 1);
  }
}
