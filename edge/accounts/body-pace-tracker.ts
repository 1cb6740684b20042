/**
 * When an isolate checks the large bodies of one key. A check keeps the thread busy for some milliseconds, so the bodies
 * of one key are checked with pauses in between, in which the requests of other keys run. Each body waits for a timer of
 * its own, because the runtime drops the timers of a client that leaves.
 */
import { LIMITS } from "../../schema/wire/limits.ts";
import { owedMs } from "../limits/gcra-rules.ts";

export class BodyPace {
  /** Epoch ms of the next check, by key, in the order in which the last body of each key arrived. */
  readonly #nextMs = new Map<string, number>();

  get keys(): number {
    return this.#nextMs.size;
  }

  /** How long this body waits for its check, in ms. */
  waitMs(keyId: string, bytes: number, nowMs: number): number {
    this.#forgetIdleKeys(nowMs);
    if (bytes < LIMITS.pacedBodyBytes) return 0;
    const startMs = nowMs + owedMs(this.#nextMs.get(keyId) ?? 0, MOST_AHEAD_MS, nowMs);
    this.#nextMs.delete(keyId);
    this.#nextMs.set(keyId, startMs + spacingMs(bytes));
    return startMs - nowMs;
  }

  #forgetIdleKeys(nowMs: number): void {
    for (const [keyId, nextMs] of this.#nextMs) {
      if (owedMs(nextMs, MOST_AHEAD_MS, nowMs) > 0) return;
      this.#nextMs.delete(keyId);
    }
  }
}

function spacingMs(bytes: number): number {
  return Math.min((bytes / 1_024) * LIMITS.bodyPaceMsPerKib, LIMITS.bodyPaceMs);
}

/** The spacing of the most bodies that one key may have in flight: as many of the smallest paced ones as fit. */
const MOST_AHEAD_MS = (LIMITS.keyBodiesBytes / 1_024) * LIMITS.bodyPaceMsPerKib + LIMITS.bodyPaceMs;
