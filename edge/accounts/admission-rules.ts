/**
 * The rate limits of one client key (docs/spec/accounts.md#rates): requests per minute, tokens per minute, and stream
 * slots. A key has 60 requests per minute unless its admin gives it more (`LIMITS.keyRequestsPerMinute`). The arithmetic
 * of the buckets is in `limits/gcra-rules.ts`; slots are leases, so that a lane that crashes leaks none.
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
  /** May be negative, because the tokens of a job are known, and charged, only when it has ended. */
  level: number;
  atMs: number;
}

/** Persisted contract: what an `Account` stores of its traffic. */
export interface Traffic {
  requests: Bucket;
  tokens: Bucket;
  /** Absent in what an earlier release stored. */
  lookups?: Bucket;
  /** The id of the job that holds a slot, and when the lease expires, epoch ms. */
  slots: Record<string, number>;
}

/** For `x-ratelimit-*`: what is left of each bucket, and the seconds until it is full again. */
export interface RateLimits {
  readonly requests: { limit: number; remaining: number; resetSeconds: number };
  readonly tokens: { limit: number; remaining: number; resetSeconds: number };
}

export interface RefusedAdmission {
  readonly ok: false;
  readonly code: ErrorCode;
  /** Absent where a retry cannot succeed. */
  readonly retryAfterSeconds?: number;
  readonly message?: string;
  readonly rateLimits: RateLimits;
  /** Whether every request of the key would be refused until then, not only this one. */
  readonly isForAll: boolean;
}

export interface AdmissionRequest {
  /** The id of the request's first job, under which a stream holds its slot. */
  readonly slot: string;
  /** The ids of the jobs of its further answers. Each answer costs one request. */
  readonly moreSlots?: readonly string[];
  readonly stream: boolean;
  /** The body was charged before it was checked, and `admit` gives that request back. */
  readonly isPaid?: boolean;
}
export type Admission = { ok: true; rateLimits: RateLimits } | RefusedAdmission;
/**
 * The charge of a refused body. `next`: the refusal that the key's next request would get now; null if it would be
 * admitted.
 */
export type Charge = { ok: true; next: RefusedAdmission | null } | RefusedAdmission;

/** The admission of a request that needs no worker. */
export type LookupAdmission = { ok: true } | { ok: false; code: ErrorCode; retryAfterSeconds: number };

/** The traffic of a key that has sent nothing yet: full buckets, no slots. */
export function newTraffic(limits: KeyLimits, nowMs: number): Traffic {
  return {
    requests: { level: limits.requestsPerMinute, atMs: nowMs },
    tokens: { level: limits.tokensPerMinute, atMs: nowMs },
    slots: {},
  };
}

/**
 * Admits one request with all of its answers, or refuses it. Its body has been read and checked by now. A refusal that
 * concerns only this request costs one request, because the next body of the key is read too. A refusal that concerns
 * every request of the key costs nothing, because until its time has passed no body of the key is read.
 */
export function admit(
  traffic: Traffic,
  limits: KeyLimits,
  { slot, moreSlots = [], stream, isPaid = false }: AdmissionRequest,
  nowMs: number,
): Admission {
  // `charge` already took one request for the body. Refund it, so that this request costs as much as any other.
  if (isPaid) traffic.requests.level += 1;
  refill(traffic.requests, limits.requestsPerMinute, nowMs);
  refill(traffic.tokens, limits.tokensPerMinute, nowMs);
  for (const [held, untilMs] of Object.entries(traffic.slots)) if (untilMs <= nowMs) delete traffic.slots[held];

  const forAll = noRequestLeft(traffic, limits);
  if (forAll) return forAll;
  if (traffic.tokens.level <= 0) {
    const waitMs = ((1 - traffic.tokens.level) / limits.tokensPerMinute) * MINUTE_MS;
    return refused("inference/token-rate-limited", traffic, limits, waitMs);
  }
  const slots = [slot, ...moreSlots];
  const forThis = refusalOfRequest(slots.length, stream, traffic, limits);
  if (forThis) return forThis;
  if (stream) for (const each of slots) traffic.slots[each] = nowMs + LIMITS.streamSlotMs;
  traffic.requests.level -= slots.length;
  return { ok: true, rateLimits: rateLimits(traffic, limits) };
}

/**
 * Refuses a request because of its number of answers or its streams, where a request for one whole answer might be
 * admitted. The refusal costs one request. Null: not refused.
 */
function refusalOfRequest(
  answers: number,
  stream: boolean,
  traffic: Traffic,
  limits: KeyLimits,
): RefusedAdmission | null {
  const most = Math.min(limits.requestsPerMinute, stream ? limits.streams : Number.POSITIVE_INFINITY);
  // If the limits of the key admit no answer at all, the limits are the cause and not this request.
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
    // A slot may become free at any moment, and whole answers need none: other requests may pass.
    const waitMs = LIMITS.retryAfterSeconds * 1_000;
    return { ...refused("inference/too-many-streams", traffic, limits, waitMs), isForAll: false };
  }
  return null;
}

/** Charges one request for a refused body. */
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

/** The limits of a refusal that is repeated after this many seconds. */
export function agedBy(limits: RateLimits, seconds: number): RateLimits {
  const aged = <T extends { resetSeconds: number }>(one: T) => ({
    ...one,
    resetSeconds: Math.max(0, one.resetSeconds - seconds),
  });
  return { requests: aged(limits.requests), tokens: aged(limits.tokens) };
}

/** Admits a list of models or a cancellation. */
export function admitLookup(traffic: Traffic, limits: KeyLimits, nowMs: number): LookupAdmission {
  const perMinute = Math.max(LIMITS.keyLookupsPerMinute, limits.requestsPerMinute);
  traffic.lookups ??= { level: perMinute, atMs: nowMs };
  refill(traffic.lookups, perMinute, nowMs);
  // A lookup becomes free within a second.
  if (traffic.lookups.level < 1) return { ok: false, code: "inference/rate-limited", retryAfterSeconds: 1 };
  traffic.lookups.level -= 1;
  return { ok: true };
}

/** These streams still run. A slot that the account lost when it was evicted is added again. */
export function renew(traffic: Traffic, slots: readonly string[], nowMs: number): void {
  for (const slot of slots) traffic.slots[slot] = nowMs + LIMITS.streamSlotMs;
}

/** Jobs ended: their tokens are charged, and the slot of a stream is free. */
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
  // A debt is at most one minute's worth, so that one large answer does not lock its key for long. An earlier release may
  // have stored a larger debt.
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
