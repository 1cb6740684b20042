/**
 * What one peer may cost this pool in CPU time, by prices that were measured (`LIMITS.work…Us`, where the measurement is).
 * Each event that a peer makes the pool look at is charged: new, known, refused, pulled or streamed. Pure.
 */
import type { FederationPolicy } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { charge, owedMs, waitMs } from "../../limits/gcra-rules.ts";

/** Persisted contract: epoch ms at which all that was charged is paid for. */
export type WorkPaidAtMs = number;

/** What the operator allows each peer: a quarter of one core is 250. */
export type WorkMsPerSecond = FederationPolicy["peer_work_ms_per_second"];

/** How long until the peer may have more done; 0: now. What begins in time is done whole, and paid for afterwards. */
export function workWaitMs(paidAtMs: WorkPaidAtMs, msPerSecond: WorkMsPerSecond, nowMs: number): number {
  const burst = burstMs(msPerSecond);
  return waitMs(owedMs(paidAtMs, 2 * burst, nowMs), burst);
}

/** A negative charge gives back what was charged beforehand and not used. */
export function chargeWork(
  paidAtMs: WorkPaidAtMs,
  costUs: number,
  msPerSecond: WorkMsPerSecond,
  nowMs: number,
): WorkPaidAtMs {
  return charge(paidAtMs, costUs / msPerSecond, 2 * burstMs(msPerSecond), nowMs);
}

/**
 * The pause after work that cost so much: also a peer that spends its burst leaves the thread to others for a part of the
 * time. A peer that may cost a whole core needs no pause.
 */
export function restMs(costUs: number, msPerSecond: WorkMsPerSecond): number {
  return (costUs / 1_000) * Math.max(0, 1 - msPerSecond / 1_000);
}

/** How long it takes to pay for the burst. More than two bursts are never owed. */
function burstMs(msPerSecond: WorkMsPerSecond): number {
  return (LIMITS.peerWorkBurstMs * 1_000) / msPerSecond;
}

/** Events as they travel: how many, and how long they are in characters of base64. */
export interface EventsSize {
  readonly events: number;
  readonly chars: number;
}

/** A page that is pulled or streamed. */
export function pageCostUs({ events, chars }: EventsSize): number {
  return events * LIMITS.workPulledEventUs + kib(chars) * LIMITS.workPulledKibUs;
}

/** Of events that come in: parsing, and for those that the log does not know their signature and their place in the log. */
export function arrivalCostUs(all: EventsSize, unknown: EventsSize): number {
  return (
    all.events * LIMITS.workArrivedEventUs +
    kib(all.chars) * LIMITS.workArrivedKibUs +
    unknown.events * LIMITS.workNewEventUs +
    kib(unknown.chars) * LIMITS.workNewKibUs
  );
}

/** The most that a page of so many events can cost; known before it is read. */
export function mostOfPage(limit: number): EventsSize {
  const events = Math.min(limit, LIMITS.eventsPerPull);
  return { events, chars: LIMITS.eventsPageChars };
}

export function sizeOf(events: readonly { event: { event_bytes: string } }[]): EventsSize {
  return { events: events.length, chars: events.reduce((sum, { event }) => sum + event.event_bytes.length, 0) };
}

const kib = (chars: number) => chars / 1_024;
