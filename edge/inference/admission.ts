/**
 * The limits of one client key (SPEC 5.2, 13): token buckets for requests and tokens a minute, and stream slots held
 * as leases, so that a crashed lane leaks none. Functions of state, event and time.
 */
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

const MINUTE_MS = 60_000;

export interface KeyLimits {
  readonly requestsPerMinute: number;
  readonly tokensPerMinute: number;
  readonly streams: number;
}

interface Bucket {
  /** May be negative: tokens are known, and paid, after the fact. */
  level: number;
  atMs: number;
}

/** Persisted contract: what an `Account` stores of its traffic. */
export interface Traffic {
  requests: Bucket;
  tokens: Bucket;
  /** Absent in what an earlier build stored. */
  lookups?: Bucket;
  /** Slot id (the job's) to the time its lease lapses, epoch ms. */
  slots: Record<string, number>;
}

/** For `x-ratelimit-*`: what is left, and the seconds until the bucket is full again. */
export interface RateLimits {
  readonly requests: { limit: number; remaining: number; resetSeconds: number };
  readonly tokens: { limit: number; remaining: number; resetSeconds: number };
}

export interface RefusedAdmission {
  readonly ok: false;
  readonly code: ErrorCode;
  readonly retryAfterSeconds: number;
  readonly rateLimits: RateLimits;
}
export type Admission = { ok: true; rateLimits: RateLimits } | RefusedAdmission;
/** Of a body that was refused. */
export type Charge = { ok: true; next: RefusedAdmission | null } | RefusedAdmission;

/** Of what asks no worker. */
export type LookupAdmission = { ok: true } | { ok: false; code: ErrorCode; retryAfterSeconds: number };

export function newTraffic(limits: KeyLimits, nowMs: number): Traffic {
  return {
    requests: { level: limits.requestsPerMinute, atMs: nowMs },
    tokens: { level: limits.tokensPerMinute, atMs: nowMs },
    slots: {},
  };
}

/** One request asks to pass. A refused one costs nothing but its own time. */
export function admit(
  traffic: Traffic,
  limits: KeyLimits,
  request: { slot: string; stream: boolean },
  nowMs: number,
): Admission {
  refill(traffic.requests, limits.requestsPerMinute, nowMs);
  refill(traffic.tokens, limits.tokensPerMinute, nowMs);
  for (const [slot, untilMs] of Object.entries(traffic.slots)) if (untilMs <= nowMs) delete traffic.slots[slot];

  const refusal = noRequestLeft(traffic, limits);
  if (refusal) return refusal;
  if (traffic.tokens.level <= 0) {
    const waitMs = ((1 - traffic.tokens.level) / limits.tokensPerMinute) * MINUTE_MS;
    return refusedFor(waitMs, "inference/token-rate-limited", traffic, limits);
  }
  if (request.stream) {
    if (Object.keys(traffic.slots).length >= limits.streams) {
      return refusedFor(LIMITS.retryAfterSeconds * 1_000, "inference/too-many-streams", traffic, limits);
    }
    traffic.slots[request.slot] = nowMs + LIMITS.streamSlotMs;
  }
  traffic.requests.level -= 1;
  return { ok: true, rateLimits: rateLimits(traffic, limits) };
}

/** A body that was refused costs what a request costs. `next`: what a request that came now would be told. */
export function charge(traffic: Traffic, limits: KeyLimits, nowMs: number): Charge {
  refill(traffic.requests, limits.requestsPerMinute, nowMs);
  refill(traffic.tokens, limits.tokensPerMinute, nowMs);
  const refusal = noRequestLeft(traffic, limits);
  if (refusal) return refusal;
  traffic.requests.level -= 1;
  return { ok: true, next: noRequestLeft(traffic, limits) };
}

function noRequestLeft(traffic: Traffic, limits: KeyLimits): RefusedAdmission | null {
  if (traffic.requests.level >= 1) return null;
  const waitMs = ((1 - traffic.requests.level) / limits.requestsPerMinute) * MINUTE_MS;
  return refusedFor(waitMs, "inference/rate-limited", traffic, limits);
}

function refusedFor(waitMs: number, code: ErrorCode, traffic: Traffic, limits: KeyLimits): RefusedAdmission {
  const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1_000));
  return { ok: false, code, retryAfterSeconds, rateLimits: rateLimits(traffic, limits) };
}

/** Of a refusal that is told again so much later. */
export function agedBy(limits: RateLimits, seconds: number): RateLimits {
  const aged = <T extends { resetSeconds: number }>(one: T) => ({
    ...one,
    resetSeconds: Math.max(0, one.resetSeconds - seconds),
  });
  return { requests: aged(limits.requests), tokens: aged(limits.tokens) };
}

/** A list of models or a cancellation asks to pass. */
export function admitLookup(traffic: Traffic, limits: KeyLimits, nowMs: number): LookupAdmission {
  const perMinute = Math.max(LIMITS.keyLookupsPerMinute, limits.requestsPerMinute);
  traffic.lookups ??= { level: perMinute, atMs: nowMs };
  refill(traffic.lookups, perMinute, nowMs);
  // A token comes back within a second.
  if (traffic.lookups.level < 1) return { ok: false, code: "inference/rate-limited", retryAfterSeconds: 1 };
  traffic.lookups.level -= 1;
  return { ok: true };
}

/** The lane says these streams still run. One that this account forgot, after an eviction, is taken up again. */
export function renew(traffic: Traffic, slots: readonly string[], nowMs: number): void {
  for (const slot of slots) traffic.slots[slot] = nowMs + LIMITS.streamSlotMs;
}

/** Jobs ended: a stream's slot is free, their tokens are paid. */
export function settle(
  traffic: Traffic,
  limits: KeyLimits,
  ended: { slot: string | null; tokens: number },
  nowMs: number,
): void {
  if (ended.slot !== null) delete traffic.slots[ended.slot];
  refill(traffic.tokens, limits.tokensPerMinute, nowMs);
  traffic.tokens.level -= ended.tokens;
}

function refill(bucket: Bucket, perMinute: number, nowMs: number): void {
  // A wall clock that stepped back refills nothing, and the bucket goes on from there.
  const elapsedMs = Math.max(0, nowMs - bucket.atMs);
  bucket.level = Math.min(perMinute, bucket.level + (elapsedMs / MINUTE_MS) * perMinute);
  bucket.atMs = nowMs;
}

function rateLimits(traffic: Traffic, limits: KeyLimits): RateLimits {
  const show = (bucket: Bucket, limit: number) => ({
    limit,
    remaining: Math.max(0, Math.floor(bucket.level)),
    resetSeconds: Math.max(0, ((limit - bucket.level) / limit) * 60),
  });
  return {
    requests: show(traffic.requests, limits.requestsPerMinute),
    tokens: show(traffic.tokens, limits.tokensPerMinute),
  };
}
