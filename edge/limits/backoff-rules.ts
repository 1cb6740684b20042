import { LIMITS } from "../../schema/wire/limits.ts";

/**
 * The pause before the next try of a message, in ms, with full jitter: a random pause between the minimum and a ceiling
 * that grows fourfold with each try. Of the nine pauses between ten tries, the last two may reach the maximum of 12 h, so
 * that ten tries span about a day. `random` is a number in [0, 1).
 */
export function backoffMs(tries: number, random: number, maxMs: number = LIMITS.deliveryBackoffMaxMs): number {
  const ceilingMs = Math.min(LIMITS.deliveryBackoffMinMs * 4 ** tries, maxMs);
  return LIMITS.deliveryBackoffMinMs + Math.floor(random * (ceilingMs - LIMITS.deliveryBackoffMinMs));
}
