import { LIMITS } from "../../schema/wire/limits.ts";

export interface BackoffRange {
  readonly minMs: number;
  readonly maxMs: number;
}

export const RECONNECT: BackoffRange = { minMs: LIMITS.reconnectMinMs, maxMs: LIMITS.reconnectMaxMs };

/**
 * How long to wait before the next attempt, in ms: full jitter over a range whose upper end doubles (SPEC 6.2).
 * Already the first wait is spread, because a pool that restarts drops all its workers at one moment.
 *
 * @param attempt failures in a row before this wait, from 0
 * @param random in [0, 1)
 */
export function backoffMs(attempt: number, random: number, range: BackoffRange = RECONNECT): number {
  const ceilingMs = Math.min(range.maxMs, range.minMs * 2 ** Math.min(attempt + 1, 32));
  return Math.round(range.minMs + random * Math.max(0, ceilingMs - range.minMs));
}
