/**
 * Rate limits by the generic cell rate algorithm (GCRA; ITU-T I.371, Annex A).
 *
 * A caller owes for what it takes, and the debt is paid as time passes. A request passes while the debt leaves room for
 * it. The debt is kept in one of two forms, and both are persisted contracts of their users:
 *
 * - `PaidAtMs`, the annex's theoretical arrival time: when all that was taken is paid for. One number.
 * - `Debt`, the annex's leaky bucket: what is owed, and when that was computed.
 *
 * A wall clock that steps back locks nobody out. A `Debt` keeps its amount and is paid from the new time on. A `PaidAtMs`
 * cannot tell a step from a debt until it is further ahead than any debt can be; then it counts as paid.
 */

/** Epoch ms at which all that was taken is paid for; in the past if nothing is owed. */
export type PaidAtMs = number;

/** `owed` in any unit: milliseconds, requests, tokens. */
export interface Debt {
  readonly owed: number;
  readonly atMs: number;
}

/** `burst` at once, then `burst` in each `periodMs`. */
export interface Rate {
  readonly burst: number;
  readonly periodMs: number;
}

export type CellStep = { ok: true; paidAtMs: PaidAtMs } | { ok: false; retryAfterSeconds: number };

/** `mostMs`: the largest debt that can arise. More than that shows that the clock stepped back, and is forgiven. */
export function owedMs(paidAtMs: PaidAtMs, mostMs: number, nowMs: number): number {
  const aheadMs = Math.max(0, paidAtMs - nowMs);
  return aheadMs > mostMs ? 0 : aheadMs;
}

/** Adds a cost, whatever is owed already. A negative cost gives back what was charged and not used. */
export function charge(paidAtMs: PaidAtMs, costMs: number, mostMs: number, nowMs: number): PaidAtMs {
  return nowMs + Math.max(0, owedMs(paidAtMs, mostMs, nowMs) + costMs);
}

/** How long until no more than `allowedMs` is owed; 0: now. */
export function waitMs(owedMs: number, allowedMs: number): number {
  return Math.max(0, Math.ceil(owedMs - allowedMs));
}

/** Takes one of the burst, or says when there will be one. `reserved`: the part of the burst that is left to other callers. */
export function takeCell(paidAtMs: PaidAtMs, rate: Rate & { readonly reserved?: number }, nowMs: number): CellStep {
  const { burst, periodMs, reserved = 0 } = rate;
  const costMs = periodMs / burst;
  const owed = owedMs(paidAtMs, periodMs + costMs, nowMs);
  const roomMs = periodMs * (1 - reserved);
  // Half a request of slack, since sums of a sixtieth of a second are not exact.
  if (owed > roomMs - costMs / 2) {
    return { ok: false, retryAfterSeconds: Math.max(1, Math.ceil((owed - roomMs + costMs) / 1_000)) };
  }
  return { ok: true, paidAtMs: nowMs + owed + costMs };
}

/** What is left of a debt: `rate.burst` of it is paid in each `rate.periodMs`. Keep the result, also where nothing is taken. */
export function payDebt({ owed, atMs }: Debt, { burst, periodMs }: Rate, nowMs: number): Debt {
  const elapsedMs = Math.max(0, nowMs - atMs);
  return { owed: Math.max(0, owed - (elapsedMs / periodMs) * burst), atMs: nowMs };
}
