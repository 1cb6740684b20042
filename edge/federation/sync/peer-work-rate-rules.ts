/**
 * How much CPU time one peer may cost this pool, at measured prices (`LIMITS.work…Us`; the measurement is described there).
 * Every event that the pool handles for a peer is charged: new, known, refused, pulled or streamed.
 */
import type { FederationPolicy } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { charge, owedMs, waitMs } from "../../limits/gcra-rules.ts";

/** Persisted contract: epoch ms at which all that was charged is paid for. */
export type WorkPaidAtMs = number;

/** The operator's setting for each peer. 250 is a quarter of one core. */
export type WorkMsPerSecond = FederationPolicy["peer_work_ms_per_second"];

/**
 * How long until the peer may cost more work, in ms; 0: now. Work that has begun is finished first, and paid for
 * afterwards.
 */
export function workWaitMs(paidAtMs: WorkPaidAtMs, msPerSecond: WorkMsPerSecond, nowMs: number): number {
  const burst = burstMs(msPerSecond);
  return waitMs(owedMs(paidAtMs, 2 * burst, nowMs), burst);
}

/**
 * The new `WorkPaidAtMs` after work of `costUs` microseconds. A negative cost refunds what was charged in advance and
 * not used.
 */
export function chargeWork(
  paidAtMs: WorkPaidAtMs,
  costUs: number,
  msPerSecond: WorkMsPerSecond,
  nowMs: number,
): WorkPaidAtMs {
  return charge(paidAtMs, costUs / msPerSecond, 2 * burstMs(msPerSecond), nowMs);
}

/**
 * The pause in ms after work of this cost. It leaves time for other peers, even while one peer spends its burst. A peer
 * that may use a whole core needs no pause.
 */
export function restMs(costUs: number, msPerSecond: WorkMsPerSecond): number {
  return (costUs / 1_000) * Math.max(0, 1 - msPerSecond / 1_000);
}

/** How many ms it takes to pay for a full burst. A peer never owes more than two bursts. */
function burstMs(msPerSecond: WorkMsPerSecond): number {
  return (LIMITS.peerWorkBurstMs * 1_000) / msPerSecond;
}

/** The number of events, and their length on the wire in base64 characters. */
export interface EventsSize {
  readonly events: number;
  readonly chars: number;
}

/** The cost in microseconds of a page that a peer pulls, or that its stream writes. */
export function pageCostUs({ events, chars }: EventsSize): number {
  return events * LIMITS.workPulledEventUs + kib(chars) * LIMITS.workPulledKibUs;
}

/**
 * The cost in microseconds of incoming events: parsing for all, and for unknown events also the signature and the write
 * to the log.
 */
export function incomingCostUs(all: EventsSize, unknown: EventsSize): number {
  return (
    all.events * LIMITS.workArrivedEventUs +
    kib(all.chars) * LIMITS.workArrivedKibUs +
    unknown.events * LIMITS.workNewEventUs +
    kib(unknown.chars) * LIMITS.workNewKibUs
  );
}

/** The largest possible size of a page of `limit` events, for a charge before the page is read. */
export function largestPage(limit: number): EventsSize {
  const events = Math.min(limit, LIMITS.eventsPerPull);
  return { events, chars: LIMITS.eventsPageChars };
}

/** The size of events in wire form. */
export function sizeOf(events: readonly { event: { event_bytes: string } }[]): EventsSize {
  return { events: events.length, chars: events.reduce((sum, { event }) => sum + event.event_bytes.length, 0) };
}

const kib = (chars: number) => chars / 1_024;
