/** The rates of one peer's signed requests: by default 60 a minute, and 60 a second at the event endpoints. */
import type { FederationPolicy } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { takeCell } from "../../limits/gcra-rules.ts";
import { chargeWork, type WorkMsPerSecond, type WorkPaidAtMs, workWaitMs } from "../sync/peer-work-rate-rules.ts";

/**
 * The rate that a request counts against. `grant`: a push of a peer below trust 2; this rate is low, because anyone may
 * register and then push.
 */
export type RateKind = "request" | "event" | "grant";

/**
 * Persisted contract. For each kind of request: epoch ms at which all admitted requests are paid for; in the past if
 * nothing is owed.
 */
export interface PeerRate {
  readonly requestsPaidAtMs: number;
  readonly eventsPaidAtMs: number;
  /** Absent if an older version stored the value. */
  readonly grantsPaidAtMs?: number;
  /** Absent if an older version stored the value. */
  readonly workPaidAtMs?: WorkPaidAtMs;
}

export interface PeerRateLimits {
  readonly requestsPerMinute: number;
  readonly eventsPerSecond: number;
  readonly workMsPerSecond: WorkMsPerSecond;
}

/** The rates that the operator has set for each peer. */
export function peerRateLimits(
  policy: Pick<
    FederationPolicy,
    "peer_requests_per_minute" | "peer_event_requests_per_second" | "peer_work_ms_per_second"
  >,
): PeerRateLimits {
  return {
    requestsPerMinute: policy.peer_requests_per_minute,
    eventsPerSecond: policy.peer_event_requests_per_second,
    workMsPerSecond: policy.peer_work_ms_per_second,
  };
}

export const UNUSED_RATE: PeerRate = Object.freeze({ requestsPaidAtMs: 0, eventsPaidAtMs: 0 });

export type RateStep = { ok: true; rate: PeerRate } | { ok: false; retryAfterSeconds: number };

/** Counts one request, or refuses it. `nowMs`: epoch ms. The caller stores `rate`. */
export function takeRate(rate: PeerRate, kind: RateKind, limits: PeerRateLimits, nowMs: number): RateStep {
  const field = PAID_AT[kind];
  const [burst, periodMs] = {
    request: [limits.requestsPerMinute, 60_000] as const,
    event: [limits.eventsPerSecond, 1_000] as const,
    grant: [LIMITS.peerGrantsPerHour, 3_600_000] as const,
  }[kind];
  const step = takeCell(rate[field] ?? 0, { burst, periodMs }, nowMs);
  if (!step.ok) return step;
  const taken = { ...rate, [field]: step.paidAtMs };
  return kind === "event" ? takeWork(taken, limits, nowMs) : { ok: true, rate: taken };
}

const PAID_AT = {
  request: "requestsPaidAtMs",
  event: "eventsPaidAtMs",
  grant: "grantsPaidAtMs",
} as const satisfies Record<RateKind, keyof PeerRate>;

/** Charges the fixed cost of a sync request. The cost of its events is charged later, when it is known. */
function takeWork(rate: PeerRate, { workMsPerSecond }: PeerRateLimits, nowMs: number): RateStep {
  const paidAtMs = rate.workPaidAtMs ?? 0;
  const waitMs = workWaitMs(paidAtMs, workMsPerSecond, nowMs);
  if (waitMs > 0) return { ok: false, retryAfterSeconds: Math.ceil(waitMs / 1_000) };
  return {
    ok: true,
    rate: { ...rate, workPaidAtMs: chargeWork(paidAtMs, LIMITS.workRequestUs, workMsPerSecond, nowMs) },
  };
}
