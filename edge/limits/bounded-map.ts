/** While an entry counts: from the time at which it was set, so that it also ends when the wall clock steps back. */
export interface Lifetime {
  readonly fromMs: number;
  readonly untilMs: number;
}

/**
 * A map of at most `most` entries: a new one takes the place of the oldest. Setting a key again makes it the newest;
 * reading it does not. No clock: an entry that expires needs the time at `set` and at `get`.
 */
export class BoundedMap<Key, Value> {
  readonly #most: number;
  readonly #entries = new Map<Key, { readonly value: Value; readonly lifetime: Lifetime | null }>();

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#entries.size;
  }

  get isFull(): boolean {
    return this.#entries.size >= this.#most;
  }

  set(key: Key, value: Value, lifetime: Lifetime | null = null): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, lifetime });
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined && this.#entries.size > this.#most) this.#entries.delete(oldest);
  }

  /** `nowMs`: needed where entries expire. An expired entry is forgotten. */
  get(key: Key, nowMs?: number): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const { lifetime } = entry;
    const isExpired =
      lifetime !== null && nowMs !== undefined && (nowMs < lifetime.fromMs || nowMs >= lifetime.untilMs);
    if (!isExpired) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  delete(key: Key): boolean {
    return this.#entries.delete(key);
  }

  deleteWhere(isObsolete: (value: Value, key: Key) => boolean): void {
    for (const [key, { value }] of this.#entries) if (isObsolete(value, key)) this.#entries.delete(key);
  }

  /** The oldest first. */
  *[Symbol.iterator](): IterableIterator<[Key, Value]> {
    for (const [key, { value }] of this.#entries) yield [key, value];
  }
}
