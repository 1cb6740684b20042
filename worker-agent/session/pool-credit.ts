/**
 * The jobs that the pool may still send: the slots of our last `ready`, minus the jobs received since. While the
 * pool has enough, slots that become free can be reported together, in fewer frames.
 */
export class PoolCredit {
  readonly #left = new Map<string, number>();

  announced(slots: readonly { model: string; free: number }[]): void {
    for (const { model, free } of slots) this.#left.set(model, free);
  }

  jobReceived(model: string): void {
    this.#left.set(model, Math.max(0, (this.#left.get(model) ?? 0) - 1));
  }

  /** Whether the pool knows of at least half of the free slots of every model. */
  isPlenty(slots: readonly { model: string; free: number }[]): boolean {
    return slots.every(({ model, free }) => (this.#left.get(model) ?? 0) * 2 >= free && free > 1);
  }
}
