/**
 * When an isolate checks the large bodies of one key. Checking a large body keeps the thread for some milliseconds. The
 * bodies of one key are therefore checked apart from each other, so that the requests of other keys run in between.
 * Each body waits by its own timer: the runtime drops the timers of a client that leaves.
 */
import { LIMITS } from "../../schema/wire/limits.ts";

export class BodyPace {
  /** Epoch ms of the next check, by key; the keys are in the order in which their last body came. */
  readonly #nextMs = new Map<string, number>();

  get keys(): number {
    return this.#nextMs.size;
  }

  /** How long this body waits for its check, in ms. */
  waitMs(keyId: string, bytes: number, nowMs: number): number {
    this.#forgetIdleKeys(nowMs);
    if (bytes < LIMITS.pacedBodyBytes) return 0;
    const startMs = nowMs + aheadMs(this.#nextMs.get(keyId), nowMs);
    this.#nextMs.delete(keyId);
    this.#nextMs.set(keyId, startMs + spacingMs(bytes));
    return startMs - nowMs;
  }

  #forgetIdleKeys(nowMs: number): void {
    for (const [keyId, nextMs] of this.#nextMs) {
      if (aheadMs(nextMs, nowMs) > 0) return;
      this.#nextMs.delete(keyId);
    }
  }
}

function spacingMs(bytes: number): number {
  return Math.min((bytes / 1_024) * LIMITS.bodyPaceMsPerKib, LIMITS.bodyPaceMs);
}

/** After a backward step of the wall clock the key waits for nothing: no key is ever so far ahead. */
function aheadMs(nextMs = 0, nowMs: number): number {
  const ahead = Math.max(0, nextMs - nowMs);
  return ahead > MOST_AHEAD_MS ? 0 : ahead;
}

/** As many of the smallest paced bodies as `keyBodiesBytes` lets one key have under way. */
const MOST_AHEAD_MS = (LIMITS.keyBodiesBytes / 1_024) * LIMITS.bodyPaceMsPerKib + LIMITS.bodyPaceMs;
