import { LIMITS } from "../../schema/wire/limits.ts";

export interface BackoffRange {
  readonly minMs: number;
  /** While the outage is young: a pool that restarts is found soon. */
  readonly youngMaxMs: number;
  readonly maxMs: number;
}

export const RECONNECT: BackoffRange = {
  minMs: LIMITS.reconnectMinMs,
  youngMaxMs: LIMITS.reconnectYoungMaxMs,
  maxMs: LIMITS.reconnectMaxMs,
};

export interface Outage {
  /** Failures in a row before this wait, from 0. */
  readonly attempt: number;
  /** Since the session was lost. */
  readonly outageMs: number;
  /** In [0, 1). */
  readonly random: number;
}

/**
 * How long to wait before the next attempt, in ms: full jitter over a range whose upper end doubles (docs/spec/workers.md#socket-protocol).
 * Already the first wait is spread, because a pool that restarts drops all its workers at one moment.
 */
export function backoffMs({ attempt, outageMs, random }: Outage, range: BackoffRange = RECONNECT): number {
  const maxMs = outageMs < LIMITS.youngOutageMs ? range.youngMaxMs : range.maxMs;
  const ceilingMs = Math.min(maxMs, range.minMs * 2 ** Math.min(attempt + 1, 32));
  return Math.round(range.minMs + random * Math.max(0, ceilingMs - range.minMs));
}
