/** The generic cell rate algorithm (ITU-T I.371): the state of a rate is one time. Pure. */

export type CellStep = { ok: true; paidAtMs: number } | { ok: false; retryAfterSeconds: number };

/**
 * `burst` at once, then one each `periodMs / burst`. `paidAtMs`: when all that was taken is paid for.
 * `reserved`: the part of the burst that this caller leaves to others.
 */
export function takeCell(
  paidAtMs: number,
  { burst, periodMs, reserved = 0 }: { burst: number; periodMs: number; reserved?: number },
  nowMs: number,
): CellStep {
  const costMs = periodMs / burst;
  const aheadMs = Math.max(0, paidAtMs - nowMs);
  // More than a full burst is never owed: the wall clock stepped back, and nobody need wait for it.
  const owedMs = aheadMs > periodMs + costMs ? 0 : aheadMs;
  const roomMs = periodMs * (1 - reserved);
  // Half a request of slack, since sums of a sixtieth of a second are not exact.
  if (owedMs > roomMs - costMs / 2) {
    return { ok: false, retryAfterSeconds: Math.max(1, Math.ceil((owedMs - roomMs + costMs) / 1_000)) };
  }
  return { ok: true, paidAtMs: nowMs + owedMs + costMs };
}
