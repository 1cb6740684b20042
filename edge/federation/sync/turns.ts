import { LIMITS } from "../../../schema/wire/limits.ts";

/** One thing at a time: a few callers wait a short while for their turn, and others are told to come again. */
export class Turns {
  #isTaken = false;
  readonly #waiting: ((isMine: boolean) => void)[] = [];

  /**
   * Null: too many wait already, or it took too long until this one's turn. `restMs`: asked when the work is done, the
   * pause until the next turn; the result does not wait for it.
   */
  async take<T>(work: () => Promise<T>, restMs: () => number = () => 0): Promise<T | null> {
    if (!(await this.#myTurn())) return null;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const done = work();
    // Work that hangs must not shut its peer out for good.
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LIMITS.peerTurnMs);
    });
    void Promise.race([done.catch(() => undefined), late]).then(() => {
      clearTimeout(timer);
      const ms = restMs();
      if (ms > 0) setTimeout(() => this.#next(), ms);
      else this.#next();
    });
    return done;
  }

  #myTurn(): Promise<boolean> | boolean {
    if (!this.#isTaken) {
      this.#isTaken = true;
      return true;
    }
    if (this.#waiting.length >= LIMITS.peerTurnsWaiting) return false;
    return new Promise((resolve) => {
      const called = (isMine: boolean) => {
        clearTimeout(timer);
        resolve(isMine);
      };
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(called), 1);
        called(false);
      }, LIMITS.peerTurnWaitMs);
      this.#waiting.push(called);
    });
  }

  #next(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#isTaken = false;
    else next(true);
  }
}
