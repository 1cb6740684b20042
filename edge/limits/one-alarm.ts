export type AlarmStorage = Pick<DurableObjectStorage, "getAlarm" | "setAlarm" | "deleteAlarm">;

/**
 * The one alarm of an object. It remembers what is armed, so that of two calls at the same time the earlier alarm holds:
 * with `getAlarm` alone both read the old time, and the later call wins. No clock.
 */
export class OneAlarm {
  readonly #storage: AlarmStorage;
  /** Undefined: unknown, because the object has just woken. */
  #armedMs: number | null | undefined;

  constructor(storage: AlarmStorage) {
    this.#storage = storage;
  }

  /**
   * Arms the alarm no later than `atMs`. The alarm is set before the first await, and so in the same commit as a
   * transaction of the same turn.
   */
  async by(atMs: number): Promise<void> {
    if (this.#armedMs === undefined) return this.#byUnknown(atMs);
    if (this.#armedMs !== null && this.#armedMs <= atMs) return;
    this.#armedMs = atMs;
    await this.#storage.setAlarm(atMs);
  }

  /** Call it first in `alarm()`: nothing is armed any more. */
  fired(): void {
    this.#armedMs = null;
  }

  /** The runtime gives up an alarm that failed too often: the next call reads what is armed. */
  reread(): void {
    this.#armedMs = undefined;
  }

  clear(): Promise<void> {
    this.#armedMs = null;
    return this.#storage.deleteAlarm();
  }

  /** An earlier alarm that was armed before the object woke is put back: storage answers in the order of the calls. */
  async #byUnknown(atMs: number): Promise<void> {
    this.#armedMs = atMs;
    const [storedMs] = await Promise.all([this.#storage.getAlarm(), this.#storage.setAlarm(atMs)]);
    // Since then the alarm may have fired, or an earlier one may be armed.
    if (storedMs !== null && this.#armedMs !== null && this.#armedMs !== undefined) await this.by(storedMs);
  }
}
