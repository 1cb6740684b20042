/**
 * Signed requests of one peer (SPEC 3.2, 13), by default 60 a minute, event endpoints 60 a second, by the generic cell rate
 * algorithm (ITU-T I.371): the state of each is one time. Pure.
 */
import type { FederationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** `grant`: what a peer brings that nobody here accepted. Each stays in our log for good, so there are few. */
export type RateKind = "request" | "event" | "grant";

/** Persisted contract: epoch ms at which all that was admitted is paid for; in the past if nothing is owed. */
export interface PeerRate {
  readonly requestsPaidAtMs: number;
  readonly eventsPaidAtMs: number;
  /** Absent in what was stored before there was this rate. */
  readonly grantsPaidAtMs?: number;
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
  const field = PAID_AT[kind];
  const [burst, periodMs] = {
    request: [limits.requestsPerMinute, 60_000] as const,
    event: [limits.eventsPerSecond, 1_000] as const,
    grant: [LIMITS.peerGrantsPerHour, 3_600_000] as const,
  }[kind];
  const step = take(rate[field] ?? 0, burst, periodMs, nowMs);
  return step.ok ? { ok: true, rate: { ...rate, [field]: step.paidAtMs } } : step;
}

const PAID_AT = {
  request: "requestsPaidAtMs",
  event: "eventsPaidAtMs",
  grant: "grantsPaidAtMs",
} as const satisfies Record<RateKind, keyof PeerRate>;

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
