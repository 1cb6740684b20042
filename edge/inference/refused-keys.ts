/**
 * What one isolate remembers of refusals, so that a key over its limits costs no body read and no object's time until
 * its `Retry-After` has passed. Pure; bounded, the oldest goes first.
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
    this.#refused.delete(key);
    this.#refused.set(key, { refusal, fromMs: nowMs, untilMs: nowMs + refusal.retryAfterSeconds * 1_000 });
    if (this.#refused.size <= LIMITS.refusedKeysKept) return;
    const [oldest] = this.#refused.keys();
    if (oldest !== undefined) this.#refused.delete(oldest);
  }

  /** The refusal that still holds, with what is left of its time; null for none. */
  find(key: string, nowMs: number): Refusal | null {
    const found = this.#refused.get(key);
    if (!found) return null;
    // A wall clock that stepped back must not make it last.
    if (nowMs >= found.fromMs && nowMs < found.untilMs) {
      return { ...found.refusal, retryAfterSeconds: Math.ceil((found.untilMs - nowMs) / 1_000) };
    }
    this.#refused.delete(key);
    return null;
  }
}
