import { LIMITS } from "../../schema/wire/limits.ts";

export interface BackoffRange {
  readonly minMs: number;
  /** The longest wait while the outage is young, so that a pool that restarts gets its workers back soon. */
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
  /** How long ago the session was lost. */
  readonly outageMs: number;
  /** In [0, 1). */
  readonly random: number;
}

/**
 * The wait before the next attempt, in ms: random in a range whose upper end doubles (docs/spec/workers.md#socket-protocol).
 * The first wait is random too, because a pool that restarts drops all its workers at the same moment.
 */
export function backoffMs({ attempt, outageMs, random }: Outage, range: BackoffRange = RECONNECT): number {
  const maxMs = outageMs < LIMITS.youngOutageMs ? range.youngMaxMs : range.maxMs;
  const ceilingMs = Math.min(maxMs, range.minMs * 2 ** Math.min(attempt + 1, 32));
  return Math.round(range.minMs + random * Math.max(0, ceilingMs - range.minMs));
}
