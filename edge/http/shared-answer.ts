/** A moment by two clocks: a wall clock that steps back must not make an old answer look young. */
export interface Moment {
  readonly wallMs: number;
  readonly steadyMs: number;
}

export const moment = (): Moment => ({ wallMs: Date.now(), steadyMs: performance.now() });

interface Asked<T> {
  readonly at: Moment;
  /** Set once the answer is here. */
  settled: { readonly value: T } | null;
}

/** How often a request looks for the answer that another request has asked for. */
const LOOK_MS = 2;

/**
 * One question whose answer all requests of an isolate share: one is asked each `keptMs`, also while answers are late. An
 * answer serves a request that arrives less than `keptMs` after it was asked for. `ask` must not reject.
 */
export class SharedAnswer<T> {
  readonly #keptMs: number;
  #asked: Asked<T> | null = null;

  constructor(keptMs: number) {
    this.#keptMs = keptMs;
  }

  /** Null: nothing is known that may be used at this time. */
  known(now: Moment): { readonly value: T } | null {
    return this.#current(now)?.settled ?? null;
  }

  async get(ask: () => Promise<T>, now: () => Moment): Promise<T> {
    for (;;) {
      const asked = this.#current(now());
      if (asked === null) return this.#ask(ask, now());
      // Looked for and not awaited: in workerd a promise belongs to the request, or the object, that made it. What awaits
      // it elsewhere goes on in the wrong context, or never, since the work of a client that leaves is dropped.
      for (let waitedMs = 0; waitedMs < this.#keptMs && asked.settled === null; waitedMs += LOOK_MS)
        await wait(LOOK_MS);
      if (asked.settled !== null) return asked.settled.value;
      if (this.#asked === asked) this.#asked = null;
    }
  }

  /** What was asked until now serves nobody who comes later. */
  drop(): void {
    this.#asked = null;
  }

  #current(now: Moment): Asked<T> | null {
    const asked = this.#asked;
    if (asked === null) return null;
    const ages = [now.wallMs - asked.at.wallMs, now.steadyMs - asked.at.steadyMs];
    return ages.every((ageMs) => ageMs >= 0 && ageMs < this.#keptMs) ? asked : null;
  }

  async #ask(ask: () => Promise<T>, at: Moment): Promise<T> {
    const asked: Asked<T> = { at, settled: null };
    this.#asked = asked;
    const value = await ask();
    asked.settled = { value };
    return value;
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
