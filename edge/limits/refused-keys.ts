/**
 * What one isolate remembers of refusals, so that a key, or a peer, over its limits costs no body read and no object's time until
 * its `Retry-After` has passed, or for a minute. Pure; bounded, the oldest goes first.
 */
import { LIMITS } from "../../schema/wire/limits.ts";

interface Remembered<Refusal> {
  readonly refusal: Refusal;
  readonly fromMs: number;
  readonly untilMs: number;
}

export class RefusedKeys<Refusal extends { readonly retryAfterSeconds: number }> {
  readonly #refused = new Map<string, Remembered<Refusal>>();

  remember(key: string, refusal: Refusal, nowMs: number): void {
    const keptMs = Math.min(refusal.retryAfterSeconds * 1_000, LIMITS.refusalKeptMs);
    this.#refused.delete(key);
    this.#refused.set(key, { refusal, fromMs: nowMs, untilMs: nowMs + keptMs });
    if (this.#refused.size <= LIMITS.refusedKeysKept) return;
    const [oldest] = this.#refused.keys();
    if (oldest !== undefined) this.#refused.delete(oldest);
  }

  /** The refusal that still holds, with what is left of its time, and how old it is; null for none. */
  find(key: string, nowMs: number): { refusal: Refusal; ageSeconds: number } | null {
    const found = this.#refused.get(key);
    if (!found) return null;
    const { refusal, fromMs, untilMs } = found;
    // A wall clock that stepped back must not make it last.
    if (nowMs >= fromMs && nowMs < untilMs) {
      const ageSeconds = (nowMs - fromMs) / 1_000;
      const retryAfterSeconds = Math.ceil(refusal.retryAfterSeconds - ageSeconds);
      return { refusal: { ...refusal, retryAfterSeconds }, ageSeconds };
    }
    this.#refused.delete(key);
    return null;
  }
}
