/** How much of each key's bodies one isolate reads at once (an isolate has 128 MB). Pure. */
import { LIMITS } from "../../schema/wire/limits.ts";

interface Reading {
  readonly bytes: number;
  /** The runtime drops the work of a client that leaves: no one says then that its reading has ended. */
  readonly untilMs: number;
}

export class BodiesUnderWay {
  readonly #byKey = new Map<string, Set<Reading>>();

  /** Call what is returned when the body has been read; null when the key has enough under way. */
  begin(keyId: string, bytes: number, nowMs: number): (() => void) | null {
    const readings = this.#byKey.get(keyId) ?? new Set();
    let sum = bytes;
    for (const each of readings) {
      if (Math.abs(each.untilMs - nowMs) > LIMITS.bodyReadMs || each.untilMs <= nowMs) readings.delete(each);
      else sum += each.bytes;
    }
    if (sum > LIMITS.keyBodiesBytes) return null;
    const reading = { bytes, untilMs: nowMs + LIMITS.bodyReadMs };
    this.#byKey.set(keyId, readings.add(reading));
    return () => {
      readings.delete(reading);
      if (readings.size === 0 && this.#byKey.get(keyId) === readings) this.#byKey.delete(keyId);
    };
  }
}
