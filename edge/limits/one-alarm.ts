/**
 * The one alarm of an object, for all that is due in it. What is armed is known here, so that two calls at a time cannot
 * both read the old time and the later one win. No clock.
 */
export class OneAlarm {
  readonly #storage: Pick<DurableObjectStorage, "getAlarm" | "setAlarm" | "deleteAlarm">;
  /** Undefined until it was read, after the object woke. */
  #armedMs: number | null | undefined;

  constructor(storage: Pick<DurableObjectStorage, "getAlarm" | "setAlarm" | "deleteAlarm">) {
    this.#storage = storage;
  }

  /** Never later than this time. */
  async by(atMs: number): Promise<void> {
    if (this.#armedMs === undefined) {
      const storedMs = await this.#storage.getAlarm();
      // What was set meanwhile is newer than what was read.
      if (this.#armedMs === undefined) this.#armedMs = storedMs;
    }
    if (this.#armedMs !== null && this.#armedMs <= atMs) return;
    await this.set(atMs);
  }

  /** At this time, whatever was armed: in the same turn as a transaction, it is part of its commit. */
  set(atMs: number): Promise<void> {
    this.#armedMs = atMs;
    return this.#storage.setAlarm(atMs);
  }

  /** At the beginning of `alarm()`: nothing is armed any more. */
  fired(): void {
    this.#armedMs = null;
  }

  /** What is armed is read again: the runtime gives up an alarm that failed too often. */
  reread(): void {
    this.#armedMs = undefined;
  }

  clear(): Promise<void> {
    this.#armedMs = null;
    return this.#storage.deleteAlarm();
  }
}
