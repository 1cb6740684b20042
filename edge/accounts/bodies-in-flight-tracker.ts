/**
 * How much of each key's bodies one isolate handles at once: the bytes that it reads (an isolate has 128 MB), or the
 * bodies that it checks before they are paid for.
 */
import { LIMITS } from "../../schema/wire/limits.ts";

interface Reading {
  readonly weight: number;
  /** After this the reading has ended. The runtime drops the work of a client that leaves, so no call may say so. */
  readonly untilMs: number;
}

export class BodiesInFlight {
  readonly #limit: number;
  /** Keys in the order in which their last body began. */
  readonly #byKey = new Map<string, Set<Reading>>();

  /** @param limit the most that the bodies of one key may weigh together */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get keys(): number {
    return this.#byKey.size;
  }

  /** Returns a function to call when the body is no longer in flight; null where the key has too much in flight. */
  begin(keyId: string, weight: number, nowMs: number): (() => void) | null {
    this.#forgetEnded(nowMs);
    const readings = this.#byKey.get(keyId) ?? new Set();
    let sum = weight;
    for (const each of readings) {
      if (hasEnded(each, nowMs)) readings.delete(each);
      else sum += each.weight;
    }
    if (sum > this.#limit) return null;
    const reading = { weight, untilMs: nowMs + LIMITS.bodyReadMs };
    this.#byKey.delete(keyId);
    this.#byKey.set(keyId, readings.add(reading));
    return () => {
      readings.delete(reading);
      if (readings.size === 0 && this.#byKey.get(keyId) === readings) this.#byKey.delete(keyId);
    };
  }

  /** Keys whose readings all ended. The oldest are at the front, so the loop stops at the first key that still reads. */
  #forgetEnded(nowMs: number): void {
    for (const [keyId, readings] of this.#byKey) {
      for (const each of readings) if (!hasEnded(each, nowMs)) return;
      this.#byKey.delete(keyId);
    }
  }
}

/** A reading that ends too far in the future shows that the wall clock stepped back. It counts as ended. */
const hasEnded = ({ untilMs }: Reading, nowMs: number) => untilMs <= nowMs || untilMs - nowMs > LIMITS.bodyReadMs;
