/**
 * Delivery to one peer (docs/spec/federation.md#delivery): when a message is tried again, when it is given up, and the circuit that keeps from
 * asking a peer that does not answer. Each message goes on its own; only the circuit is common. Pure: `random` is a
 * number of [0, 1) that comes in.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";

/** What came of one try. */
export type Outcome =
  /** As the protocol has it: a success says that the message was taken, a refusal by what code. */
  | { type: "answered"; status: number; retryAfterSeconds: number | null }
  /** It says that its operator has federation off: it is there, and will take the message when it is on again. */
  | { type: "off" }
  /** A status that is no error, a redirect too, and no answer to what was sent. */
  | { type: "garbled" }
  /** Refused, timed out, too large, or no HTTP at all. */
  | { type: "unreachable" };

/** What an outcome means: done; never to be; later, at a time that the peer names or when it is on again; a failure. */
type Verdict =
  | { type: "delivered" }
  | { type: "gone" }
  | { type: "deferred"; afterMs: number | null }
  | { type: "failed" };

/** Of the protocol's two ways to ask for patience neither is a failure: a `429` that says when, and "switched off". */
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

/** Persisted contract: beside the message itself. */
export interface Delivery {
  /** Failed ones. */
  readonly tries: number;
  /** Times the peer said "later"; bounded, or it could keep us for ever. */
  readonly deferrals: number;
  readonly nextAtMs: number;
}

export type DeliveryStep =
  | { type: "delivered" }
  | { type: "retry"; delivery: Delivery }
  | { type: "given-up"; reason: "gone" | "tries" };

export function newDelivery(nowMs: number): Delivery {
  return { tries: 0, deferrals: 0, nextAtMs: nowMs };
}

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
      // Half an hour at most, so that a hundred of them span about a day too.
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

/**
 * Full jitter: anything between the least and a ceiling that grows fourfold, so that of nine waits the last two may
 * take the most, 12 h, and ten tries span about a day.
 */
export function backoffMs(tries: number, random: number, maxMs: number = LIMITS.deliveryBackoffMaxMs): number {
  const ceilingMs = Math.min(LIMITS.deliveryBackoffMinMs * 4 ** tries, maxMs);
  return LIMITS.deliveryBackoffMinMs + Math.floor(random * (ceilingMs - LIMITS.deliveryBackoffMinMs));
}

// ---- The circuit

/** Persisted contract: one a peer. */
export interface Circuit {
  /** While closed: the failures since the last answer, at most `circuitFailures`. Epoch ms. */
  readonly failedAtMs: readonly number[];
  /** Null: closed. */
  readonly openedAtMs: number | null;
  /** While half-open: until when the one probe is waited for. */
  readonly probeUntilMs: number | null;
}

export const CLOSED_CIRCUIT: Circuit = Object.freeze({ failedAtMs: [], openedAtMs: null, probeUntilMs: null });

export type CircuitStart = { ok: true; circuit: Circuit } | { ok: false; retryAtMs: number };

/** To be asked, and stored, before each try. One probe at a time goes through a half-open circuit. */
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

/** `change` is what becomes an event. */
export interface CircuitEnd {
  readonly circuit: Circuit;
  readonly change: "opened" | "closed" | null;
}

/** After each try. A peer that refuses a message, or says that it is off, is there: it fails by its own errors, by garbage and by silence. */
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

/** Something else shows that the peer is back: one probe may go through at once, and decides. Nothing to try closes it. */
export function peerIsBack(circuit: Circuit, isWaiting: boolean, nowMs: number): CircuitEnd {
  if (circuitState(circuit, nowMs) !== "open") return { circuit, change: null };
  if (!isWaiting) return { circuit: CLOSED_CIRCUIT, change: "closed" };
  return { circuit: { ...circuit, openedAtMs: nowMs - LIMITS.circuitOpenMs }, change: null };
}

export function circuitState(circuit: Circuit, nowMs: number): "closed" | "open" | "half-open" {
  if (circuit.openedAtMs === null) return "closed";
  // Opened in the future: the wall clock stepped back. A probe finds out, and nobody waits for the clock.
  const openForMs = nowMs - circuit.openedAtMs;
  return openForMs >= 0 && openForMs < LIMITS.circuitOpenMs ? "open" : "half-open";
}
