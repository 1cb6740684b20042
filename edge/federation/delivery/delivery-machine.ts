/**
 * Delivery to one peer (docs/spec/federation.md#delivery): when a message is tried again, when the pool gives it up,
 * and the circuit that stops calls to a peer that does not answer. Each message has its own retries; all messages share
 * the circuit. `nowMs` is epoch ms. `random` is a number in [0, 1).
 */
import { LIMITS } from "../../../schema/wire/limits.ts";
import { backoffMs } from "../../limits/backoff-rules.ts";

/** The outcome of one try. */
export type Outcome =
  /** An answer of the protocol: a success, or a refusal with its status. */
  | { type: "answered"; status: number; retryAfterSeconds: number | null }
  /** The peer answers that its federation is off. It will take the message when federation is on again. */
  | { type: "off" }
  /** An answer that is not of the protocol, for example a redirect, or a success with an unexpected body. */
  | { type: "garbled" }
  /** The connection failed, timed out, or the answer was too large. */
  | { type: "unreachable" };

/**
 * What an outcome means for the message. `gone`: it can never be delivered. `deferred`: the peer asked for a pause of
 * `afterMs`, or (null) for a pause until its federation is on.
 */
type Verdict =
  | { type: "delivered" }
  | { type: "gone" }
  | { type: "deferred"; afterMs: number | null }
  | { type: "failed" };

/** A `429` with `Retry-After` is not a failure, and "federation is off" is not a failure either. */
function verdictOf(outcome: Outcome): Verdict {
  if (outcome.type === "off") return { type: "deferred", afterMs: null };
  if (outcome.type !== "answered") return { type: "failed" };
  const { status, retryAfterSeconds } = outcome;
  if (status >= 200 && status < 300) return { type: "delivered" };
  if (status === 404 || status === 410) return { type: "gone" };
  if (status === 429 && retryAfterSeconds !== null) {
    const afterMs = Math.max(retryAfterSeconds * 1_000, LIMITS.deliveryBackoffMinMs);
    return { type: "deferred", afterMs: Math.min(afterMs, LIMITS.deliveryBackoffMaxMs) };
  }
  return { type: "failed" };
}

// ---- One message

/** Persisted contract: columns of a queued message. */
export interface Delivery {
  /** Failed tries. */
  readonly tries: number;
  /**
   * How often the peer asked for a pause. The number is limited, so that a peer cannot keep a message queued for ever.
   */
  readonly deferrals: number;
  readonly nextAtMs: number;
}

export type DeliveryStep =
  | { type: "delivered" }
  | { type: "retry"; delivery: Delivery }
  | { type: "given-up"; reason: "gone" | "tries" };

/** A message that was never tried and is due now. */
export function newDelivery(nowMs: number): Delivery {
  return { tries: 0, deferrals: 0, nextAtMs: nowMs };
}

/** The next state of a message after a try: deleted, queued again, or given up. */
export function afterTry(delivery: Delivery, outcome: Outcome, nowMs: number, random: number): DeliveryStep {
  const verdict = verdictOf(outcome);
  switch (verdict.type) {
    case "delivered":
      return { type: "delivered" };
    case "gone":
      return { type: "given-up", reason: "gone" };
    case "deferred": {
      const deferrals = delivery.deferrals + 1;
      if (deferrals > LIMITS.deliveryDeferrals) return { type: "given-up", reason: "tries" };
      // This pause is at most half an hour, so that a hundred deferrals span about a day, as ten tries do.
      const afterMs = verdict.afterMs ?? backoffMs(deferrals, random, LIMITS.deliveryOffMaxMs);
      return { type: "retry", delivery: { ...delivery, deferrals, nextAtMs: nowMs + afterMs } };
    }
    case "failed": {
      const tries = delivery.tries + 1;
      if (tries >= LIMITS.deliveryTries) return { type: "given-up", reason: "tries" };
      return { type: "retry", delivery: { ...delivery, tries, nextAtMs: nowMs + backoffMs(tries, random) } };
    }
    default:
      return verdict satisfies never;
  }
}

// ---- The circuit

/** Persisted contract: the circuit of one peer. It is closed, open, or half-open (`circuitState`). */
export interface Circuit {
  /** While closed: the times of the failures since the last answer, epoch ms, at most `circuitFailures`. */
  readonly failedAtMs: readonly number[];
  /** Null: closed. */
  readonly openedAtMs: number | null;
  /** While half-open: epoch ms after which the running probe counts as lost. */
  readonly probeUntilMs: number | null;
}

export const CLOSED_CIRCUIT: Circuit = Object.freeze({ failedAtMs: [], openedAtMs: null, probeUntilMs: null });

export type CircuitStart = { ok: true; circuit: Circuit } | { ok: false; retryAtMs: number };

/**
 * Call it before each try, and store the circuit. A half-open circuit lets one probe through at a time. A refusal says
 * when the next try may start.
 */
export function startTry(circuit: Circuit, nowMs: number): CircuitStart {
  if (circuit.openedAtMs === null) return { ok: true, circuit };
  if (circuitState(circuit, nowMs) === "open") {
    return { ok: false, retryAtMs: circuit.openedAtMs + LIMITS.circuitOpenMs };
  }
  const { probeUntilMs } = circuit;
  if (probeUntilMs !== null && probeUntilMs > nowMs && probeUntilMs <= nowMs + LIMITS.circuitProbeMs) {
    return { ok: false, retryAtMs: probeUntilMs };
  }
  return { ok: true, circuit: { ...circuit, probeUntilMs: nowMs + LIMITS.circuitProbeMs } };
}

/** `change` is recorded as an event; null if the circuit did not open or close. */
export interface CircuitEnd {
  readonly circuit: Circuit;
  readonly change: "opened" | "closed" | null;
}

/**
 * Call it after each try. A refusal and "federation is off" show that the peer is available, and close the circuit.
 * Server errors, unexpected answers and silence are failures.
 */
export function endTry(circuit: Circuit, outcome: Outcome, nowMs: number): CircuitEnd {
  if (outcome.type === "off" || (outcome.type === "answered" && outcome.status < 500)) {
    return { circuit: CLOSED_CIRCUIT, change: circuit.openedAtMs === null ? null : "closed" };
  }
  const open: Circuit = { failedAtMs: [], openedAtMs: nowMs, probeUntilMs: null };
  if (circuit.openedAtMs !== null) return { circuit: open, change: null };
  const recent = circuit.failedAtMs.filter((atMs) => atMs > nowMs - LIMITS.circuitWindowMs);
  const failedAtMs = [...recent, nowMs];
  return failedAtMs.length >= LIMITS.circuitFailures
    ? { circuit: open, change: "opened" }
    : { circuit: { ...circuit, failedAtMs }, change: null };
}

/**
 * Call it when another request shows that the peer is available again. If messages wait, the circuit becomes half-open,
 * and the next try decides. If none waits, the circuit closes.
 */
export function peerIsBack(circuit: Circuit, isWaiting: boolean, nowMs: number): CircuitEnd {
  if (circuitState(circuit, nowMs) !== "open") return { circuit, change: null };
  if (!isWaiting) return { circuit: CLOSED_CIRCUIT, change: "closed" };
  return { circuit: { ...circuit, openedAtMs: nowMs - LIMITS.circuitOpenMs }, change: null };
}

/** The state of the circuit now. An open circuit becomes half-open after `LIMITS.circuitOpenMs`. */
export function circuitState(circuit: Circuit, nowMs: number): "closed" | "open" | "half-open" {
  if (circuit.openedAtMs === null) return "closed";
  // If the circuit opened in the future, the wall clock has stepped back. Then let a probe decide.
  const openForMs = nowMs - circuit.openedAtMs;
  return openForMs >= 0 && openForMs < LIMITS.circuitOpenMs ? "open" : "half-open";
}
