import { LIMITS } from "../../../schema/wire/limits.ts";
import { within } from "../../limits/timeout.ts";

/** Runs one piece of work at a time. A few callers wait a short time for their turn; further callers are refused. */
export class Turns {
  #isTaken = false;
  readonly #waiting: ((isMine: boolean) => void)[] = [];

  /**
   * Runs `work` when its turn comes. Null: too many callers wait already, or the turn did not come in time. `restMs` is
   * called when the work is done, and returns the pause before the next turn. The result does not wait for the pause.
   */
  async take<T>(work: () => Promise<T>, restMs: () => number = () => 0): Promise<T | null> {
    if (!(await this.#waitForTurn())) return null;
    const done = work();
    // Limit the turn, so that work that never ends does not block the peer for ever.
    void within(LIMITS.peerTurnMs, done).then(() => {
      const ms = restMs();
      if (ms > 0) setTimeout(() => this.#next(), ms);
      else this.#next();
    });
    return done;
  }

  #waitForTurn(): Promise<boolean> | boolean {
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
