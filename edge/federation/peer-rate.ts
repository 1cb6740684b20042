/**
 * Signed requests of one peer (SPEC 3.2, 13), by default 60 a minute, event endpoints 60 a second, by the generic cell rate
 * algorithm (ITU-T I.371): the state of each is one time. Pure.
 */
import type { FederationPolicy } from "../../schema/wire/federation.ts";

export type RateKind = "request" | "event";

/** Persisted contract: epoch ms at which all that was admitted is paid for; in the past if nothing is owed. */
export interface PeerRate {
  readonly requestsPaidAtMs: number;
  readonly eventsPaidAtMs: number;
}

export interface PeerRateLimits {
  readonly requestsPerMinute: number;
  readonly eventsPerSecond: number;
}

/** What the operator allows each peer. */
export function peerRateLimits(
  policy: Pick<FederationPolicy, "peer_requests_per_minute" | "peer_event_requests_per_second">,
): PeerRateLimits {
  return {
    requestsPerMinute: policy.peer_requests_per_minute,
    eventsPerSecond: policy.peer_event_requests_per_second,
  };
}

export const UNUSED_RATE: PeerRate = Object.freeze({ requestsPaidAtMs: 0, eventsPaidAtMs: 0 });

export type RateStep = { ok: true; rate: PeerRate } | { ok: false; retryAfterSeconds: number };

export function takeRate(rate: PeerRate, kind: RateKind, limits: PeerRateLimits, nowMs: number): RateStep {
  const step =
    kind === "event"
      ? take(rate.eventsPaidAtMs, limits.eventsPerSecond, 1_000, nowMs)
      : take(rate.requestsPaidAtMs, limits.requestsPerMinute, 60_000, nowMs);
  if (!step.ok) return step;
  const paid = kind === "event" ? { eventsPaidAtMs: step.paidAtMs } : { requestsPaidAtMs: step.paidAtMs };
  return { ok: true, rate: { ...rate, ...paid } };
}

/** `burst` at once, then one each `periodMs / burst`. */
function take(paidAtMs: number, burst: number, periodMs: number, nowMs: number) {
  const costMs = periodMs / burst;
  const aheadMs = Math.max(0, paidAtMs - nowMs);
  // More than a full burst is never owed: the wall clock stepped back, and the peer need not wait for it.
  const owedMs = aheadMs > periodMs + costMs ? 0 : aheadMs;
  // Half a request of slack, since sums of a sixtieth of a second are not exact.
  if (owedMs > periodMs - costMs / 2) {
    return { ok: false, retryAfterSeconds: Math.max(1, Math.ceil((owedMs - periodMs + costMs) / 1_000)) } as const;
  }
  return { ok: true, paidAtMs: nowMs + owedMs + costMs } as const;
}
