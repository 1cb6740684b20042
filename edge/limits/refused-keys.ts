import { LIMITS } from "../../schema/wire/limits.ts";
import { BoundedMap } from "./bounded-map.ts";

/**
 * The refusals that one isolate remembers. A key or a peer that is over its limits costs no body read and no call of an
 * object until its `Retry-After` has passed, for a minute at most.
 */
export class RefusedKeys<Refusal extends { readonly retryAfterSeconds: number }> {
  readonly #refused = new BoundedMap<string, { readonly refusal: Refusal; readonly fromMs: number }>(
    LIMITS.refusedKeysKept,
  );

  remember(key: string, refusal: Refusal, nowMs: number): void {
    const keptMs = Math.min(refusal.retryAfterSeconds * 1_000, LIMITS.refusalKeptMs);
    this.#refused.set(key, { refusal, fromMs: nowMs }, { fromMs: nowMs, untilMs: nowMs + keptMs });
  }

  /** The refusal that still holds, with the rest of its time and its age; null for none. */
  find(key: string, nowMs: number): { refusal: Refusal; ageSeconds: number } | null {
    const found = this.#refused.get(key, nowMs);
    if (found === undefined) return null;
    const { refusal, fromMs } = found;
    const ageSeconds = (nowMs - fromMs) / 1_000;
    const retryAfterSeconds = Math.ceil(refusal.retryAfterSeconds - ageSeconds);
    return { refusal: { ...refusal, retryAfterSeconds }, ageSeconds };
  }
}
