/**
 * How much of each key's bodies one isolate has under way at once: the bytes that it reads (an isolate has 128 MB), or
 * the bodies that are checked before they are paid for. Pure.
 */
import { LIMITS } from "../../schema/wire/limits.ts";

interface Reading {
  readonly weight: number;
  /** The runtime drops the work of a client that leaves: no one says then that its reading has ended. */
  readonly untilMs: number;
}

export class BodiesUnderWay {
  readonly #most: number;
  /** Keys in the order in which they last began. */
  readonly #byKey = new Map<string, Set<Reading>>();

  /** @param most what the bodies of one key may weigh together */
  constructor(most: number) {
    this.#most = most;
  }

  get keys(): number {
    return this.#byKey.size;
  }

  /** Call what is returned when the body is no longer under way; null when the key has enough under way. */
  begin(keyId: string, weight: number, nowMs: number): (() => void) | null {
    this.#forgetWhoLeft(nowMs);
    const readings = this.#byKey.get(keyId) ?? new Set();
    let sum = weight;
    for (const each of readings) {
      if (isOver(each, nowMs)) readings.delete(each);
      else sum += each.weight;
    }
    if (sum > this.#most) return null;
    const reading = { weight, untilMs: nowMs + LIMITS.bodyReadMs };
    this.#byKey.delete(keyId);
    this.#byKey.set(keyId, readings.add(reading));
    return () => {
      readings.delete(reading);
      if (readings.size === 0 && this.#byKey.get(keyId) === readings) this.#byKey.delete(keyId);
    };
  }

  /** From the front, where those are that began longest ago. */
  #forgetWhoLeft(nowMs: number): void {
    for (const [keyId, readings] of this.#byKey) {
      for (const each of readings) if (!isOver(each, nowMs)) return;
      this.#byKey.delete(keyId);
    }
  }
}

/** By distance too: a wall clock that stepped back must not make a reading last. */
const isOver = ({ untilMs }: Reading, nowMs: number) => untilMs <= nowMs || untilMs - nowMs > LIMITS.bodyReadMs;
