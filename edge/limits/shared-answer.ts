import { pause } from "./timeout.ts";

/** A time by two clocks, so that a wall clock that steps back cannot make an old answer look new. */
export interface Moment {
  readonly wallMs: number;
  readonly steadyMs: number;
}

export const moment = (): Moment => ({ wallMs: Date.now(), steadyMs: performance.now() });

export interface SharedAnswerLimits {
  /** A question serves the requests that arrive within this time after it was asked. Questions are at least this far apart. */
  readonly keptMs: number;
  /** After this time without an answer a request counts its question as lost, and asks again. */
  readonly lostMs: number;
}

interface Question {
  /** Questions are numbered upward, so that later questions are recognised without a clock. */
  readonly number: number;
  readonly at: Moment;
}

/** How often a request checks for an answer: at first, and after a long wait. */
const LOOK_MS = 2;
const SLOW_LOOK_MS = 20;

/**
 * One question whose answer all requests of an isolate share. A request uses the first answer to a question that was
 * asked less than `keptMs` before the request arrived, or later. However slow the answers are, a request waits for the
 * same question for its whole patience. `ask` must settle and must not reject.
 */
export class SharedAnswer<T> {
  readonly #limits: SharedAnswerLimits;
  readonly #now: () => Moment;
  #asked = 0;
  /** Null: a request that arrives now needs a new question. */
  #newest: Question | null = null;
  /** The answer to the latest question that has one. */
  #answered: { readonly number: number; readonly value: T } | null = null;

  constructor(limits: SharedAnswerLimits, now: () => Moment = moment) {
    this.#limits = limits;
    this.#now = now;
  }

  /** Null: no answer may be used by a request that arrives now. */
  known(): { readonly value: T } | null {
    const current = this.#current();
    return current === null ? null : this.#answerSince(current.number);
  }

  /** Null: no answer came within `patienceMs`. */
  async get(ask: () => Promise<T>, patienceMs: number): Promise<{ readonly value: T } | null> {
    const arrivedMs = this.#now().steadyMs;
    let own = this.#current() === null ? this.#ask(ask) : null;
    const first = this.#asked;
    let askAgainMs = this.#limits.lostMs;
    for (;;) {
      const answer = this.#answerSince(first);
      if (answer !== null) return answer;
      const waitedMs = this.#now().steadyMs - arrivedMs;
      if (waitedMs >= patienceMs) return null;
      if (waitedMs >= askAgainMs && this.#current() === null) {
        own = this.#ask(ask);
        askAgainMs = waitedMs + this.#limits.lostMs;
      }
      // A request awaits its own question only, and looks for the answers to others. In workerd a promise belongs to the
      // request, or the object, that made it: awaited elsewhere it may never settle, because the runtime drops the work of
      // a request whose client leaves.
      const look = pause(Math.min(Math.max(LOOK_MS, waitedMs / 8), SLOW_LOOK_MS, patienceMs - waitedMs));
      await (own === null ? look : Promise.race([own, look]));
    }
  }

  /** A request that arrives from now on needs a new question. */
  drop(): void {
    this.#newest = null;
  }

  #current(): Question | null {
    if (this.#newest === null) return null;
    const { at } = this.#newest;
    const now = this.#now();
    const ages = [now.wallMs - at.wallMs, now.steadyMs - at.steadyMs];
    return ages.every((ageMs) => ageMs >= 0 && ageMs < this.#limits.keptMs) ? this.#newest : null;
  }

  #answerSince(number: number): { readonly value: T } | null {
    return this.#answered !== null && this.#answered.number >= number ? this.#answered : null;
  }

  async #ask(ask: () => Promise<T>): Promise<void> {
    this.#asked += 1;
    const number = this.#asked;
    this.#newest = { number, at: this.#now() };
    const value = await ask();
    if (this.#answerSince(number) === null) this.#answered = { number, value };
  }
}
