import { type AlarmStorage, OneAlarm } from "./one-alarm.ts";

export const NEVER = Number.POSITIVE_INFINITY;

/** When something is due, epoch ms; null or `NEVER` for nothing. A time that has passed is due now. */
export type DueTime = (nowMs: number) => number | null;

/**
 * The times at which an object has work to do, by name, and its one alarm, armed at the earliest of them. Each time is
 * read from what the object has stored, so that nothing is due only in memory: an object that wakes with `arm` has lost
 * nothing. The alarm may fire when nothing is due any more; the object then looks, and arms it again.
 *
 *     readonly #due = new DueTimes(ctx.storage, { flush: (nowMs) => this.#outbox.dueAtMs(nowMs) });
 *     override async alarm() { this.#due.fired(); await this.#flush(); await this.#due.arm(Date.now()); }
 */
export class DueTimes {
  readonly #alarm: OneAlarm;
  readonly #times: Readonly<Record<string, DueTime>>;

  constructor(storage: AlarmStorage, times: Readonly<Record<string, DueTime>>) {
    this.#alarm = new OneAlarm(storage);
    this.#times = times;
  }

  /**
   * Arms the alarm no later than the earliest time. Called in the same turn as a transaction, the alarm is part of its
   * commit: a crash between the commit and the work loses nothing.
   */
  async arm(nowMs: number): Promise<void> {
    const times = Object.values(this.#times).map((dueAtMs) => dueAtMs(nowMs) ?? NEVER);
    const earliestMs = Math.min(...times);
    if (earliestMs < NEVER) await this.#alarm.by(earliestMs);
  }

  /** Arms the alarm no later than `atMs`, for what has no time of its own: to try again what failed. */
  by(atMs: number): Promise<void> {
    return this.#alarm.by(atMs);
  }

  /** Call it first in `alarm()`: nothing is armed any more. */
  fired(): void {
    this.#alarm.fired();
  }

  /** The runtime gives up an alarm that failed too often: the next `arm` reads what is armed. */
  reread(): void {
    this.#alarm.reread();
  }

  /** Before the storage is emptied. */
  clear(): Promise<void> {
    return this.#alarm.clear();
  }
}
