/**
 * A handshake of the existing network makes us call its sender back (SPEC 3.4): once a minute per host, and a hundred
 * hosts at most, so that nobody can aim us at somebody. A call ends within a minute, so what waits is among these. Pure.
 */
import { LIMITS } from "../../schema/wire/limits.ts";

/** Host to the time of its call, epoch ms. Need not be durable. */
export type ReverseVerifies = ReadonlyMap<string, number>;

export type ReverseVerifyStep =
  | { ok: true; calls: ReverseVerifies }
  | { ok: false; code: "federation/rate-limited"; retryAfterSeconds: number };

const MINUTE_MS = 60_000;

export function startReverseVerify(calls: ReverseVerifies, host: string, nowMs: number): ReverseVerifyStep {
  const recent = new Map([...calls].filter(([, atMs]) => atMs <= nowMs && atMs > nowMs - MINUTE_MS));
  const heldUpByMs =
    recent.get(host) ?? (recent.size < LIMITS.reverseVerifyHosts ? null : Math.min(...recent.values()));
  if (heldUpByMs === null) return { ok: true, calls: recent.set(host, nowMs) };
  const retryAfterSeconds = Math.max(1, Math.ceil((heldUpByMs + MINUTE_MS - nowMs) / 1_000));
  return { ok: false, code: "federation/rate-limited", retryAfterSeconds };
}
