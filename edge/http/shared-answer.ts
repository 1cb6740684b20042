import { waitUntil } from "cloudflare:workers";

interface Asked<T> {
  readonly atMs: number;
  readonly answer: Promise<T>;
  /** Set once the answer is here: later requests need not wait for another request's promise. */
  settled: { readonly value: T } | null;
}

/**
 * One question whose answer all requests of an isolate share: at most one is asked each `keptMs`, also while the answer
 * is late. An answer serves a request that arrives less than `keptMs` after it was asked for. `ask` must not reject.
 */
export class SharedAnswer<T> {
  readonly #keptMs: number;
  #asked: Asked<T> | null = null;

  constructor(keptMs: number) {
    this.#keptMs = keptMs;
  }

  /** The caller bounds how long it waits: the request that asked may be in no hurry. */
  get(ask: () => Promise<T>, nowMs: number): T | Promise<T> {
    const asked = this.#asked;
    const ageMs = asked === null ? Number.NaN : nowMs - asked.atMs;
    if (asked !== null && ageMs >= 0 && ageMs < this.#keptMs) return asked.settled?.value ?? asked.answer;
    return this.#ask(ask, nowMs).answer;
  }

  /** What was asked until now serves nobody who comes later. */
  drop(): void {
    this.#asked = null;
  }

  #ask(ask: () => Promise<T>, nowMs: number): Asked<T> {
    const asked: Asked<T> = { atMs: nowMs, answer: ask(), settled: null };
    this.#asked = asked;
    const settle = async () => {
      asked.settled = { value: await asked.answer };
    };
    // A timer beside the wall clock, because a clock that steps back could make an old answer look young.
    const expire = async () => {
      await scheduler.wait(this.#keptMs);
      if (this.#asked === asked) this.#asked = null;
    };
    // The runtime drops the work of a client that leaves, and other requests wait for this answer.
    waitUntil(Promise.all([settle(), expire()]));
    return asked;
  }
}
