/**
 * The limits of one client key (docs/spec/inference.md#a-jobs-life, 13): token buckets for requests and tokens a minute, and stream slots held
 * as leases, so that a crashed lane leaks none. Functions of state, event and time.
 */
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { payDebt } from "../limits/gcra-rules.ts";

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
  /** Absent where waiting changes nothing. */
  readonly retryAfterSeconds?: number;
  readonly message?: string;
  readonly rateLimits: RateLimits;
  /** Until then every request for an answer would be refused so, not only this one. */
  readonly isForAll: boolean;
}

export interface AskedAdmission {
  /** Of the request; a stream's slot is held by it. */
  readonly slot: string;
  /** Of its further answers: each costs what a request costs. */
  readonly moreSlots?: readonly string[];
  readonly stream: boolean;
  /** The body was charged before it was checked. */
  readonly isPaid?: boolean;
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

/**
 * One request asks to pass, with all of its answers or none. Its body has been read and checked by then: a refusal that
 * is about this request alone costs a request, for the next body of its key is read too. One that is about all requests
 * of the key costs nothing: until its time has passed no body is read.
 */
export function admit(
  traffic: Traffic,
  limits: KeyLimits,
  { slot, moreSlots = [], stream, isPaid = false }: AskedAdmission,
  nowMs: number,
): Admission {
  // What was paid in advance is given back first: from here on the request costs what every request costs.
  if (isPaid) traffic.requests.level += 1;
  refill(traffic.requests, limits.requestsPerMinute, nowMs);
  refill(traffic.tokens, limits.tokensPerMinute, nowMs);
  for (const [held, untilMs] of Object.entries(traffic.slots)) if (untilMs <= nowMs) delete traffic.slots[held];

  const ofAll = noRequestLeft(traffic, limits);
  if (ofAll) return ofAll;
  if (traffic.tokens.level <= 0) {
    const waitMs = ((1 - traffic.tokens.level) / limits.tokensPerMinute) * MINUTE_MS;
    return refused("inference/token-rate-limited", traffic, limits, waitMs);
  }
  const slots = [slot, ...moreSlots];
  const ofThis = refusalOf(slots.length, stream, traffic, limits);
  if (ofThis) return ofThis;
  if (stream) for (const each of slots) traffic.slots[each] = nowMs + LIMITS.streamSlotMs;
  traffic.requests.level -= slots.length;
  return { ok: true, rateLimits: rateLimits(traffic, limits) };
}

/** Why so many answers may not pass, where one whole answer might; it has cost a request. */
function refusalOf(answers: number, stream: boolean, traffic: Traffic, limits: KeyLimits): RefusedAdmission | null {
  const most = Math.min(limits.requestsPerMinute, stream ? limits.streams : Number.POSITIVE_INFINITY);
  // Alone, an answer that never passes is a matter of the key's limits, and not of this request.
  if (answers > Math.max(1, most)) {
    traffic.requests.level -= 1;
    const message = `The request asks for ${answers} answers, and each counts as a request: its key may have ${most} at once.`;
    return { ...refused("inference/too-many-choices", traffic, limits), message };
  }
  if (traffic.requests.level < answers) {
    traffic.requests.level -= 1;
    return noRequestLeft(traffic, limits, answers);
  }
  if (stream && Object.keys(traffic.slots).length + answers > limits.streams) {
    traffic.requests.level -= 1;
    // A slot may be free again at any moment, and whole answers need none.
    const waitMs = LIMITS.retryAfterSeconds * 1_000;
    return { ...refused("inference/too-many-streams", traffic, limits, waitMs), isForAll: false };
  }
  return null;
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

function noRequestLeft(traffic: Traffic, limits: KeyLimits, requests = 1): RefusedAdmission | null {
  const { level } = traffic.requests;
  if (level >= requests) return null;
  const waitMs = ((requests - level) / limits.requestsPerMinute) * MINUTE_MS;
  return { ...refused("inference/rate-limited", traffic, limits, waitMs), isForAll: level < 1 };
}

function refused(code: ErrorCode, traffic: Traffic, limits: KeyLimits, waitMs?: number): RefusedAdmission {
  return {
    ok: false,
    code,
    ...(waitMs !== undefined && { retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1_000)) }),
    rateLimits: rateLimits(traffic, limits),
    isForAll: waitMs !== undefined,
  };
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
export function recordUsage(
  traffic: Traffic,
  limits: KeyLimits,
  used: { slot: string | null; tokens: number },
  nowMs: number,
): void {
  if (used.slot !== null) delete traffic.slots[used.slot];
  refill(traffic.tokens, limits.tokensPerMinute, nowMs);
  traffic.tokens.level = Math.max(-limits.tokensPerMinute, traffic.tokens.level - used.tokens);
}

function refill(bucket: Bucket, perMinute: number, nowMs: number): void {
  // No debt is more than a minute's worth, an earlier build's included: one large answer must not lock its key for long.
  const level = Math.max(-perMinute, bucket.level);
  const debt = { owed: perMinute - level, atMs: bucket.atMs };
  bucket.level = perMinute - payDebt(debt, { burst: perMinute, periodMs: MINUTE_MS }, nowMs).owed;
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
