/**
 * A handshake of the existing network makes us call its sender back (docs/spec/federation.md#registration): once a minute per host, whatever the
 * port, and a hundred hosts at most, so that nobody can aim us at somebody, nor have us try somebody's ports. A call ends
 * within a minute, so what waits is among these. Pure.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Host to the time of its call, epoch ms. Need not be durable. */
export type ReverseVerifies = ReadonlyMap<string, number>;

export type ReverseVerifyStep =
  | { ok: true; calls: ReverseVerifies }
  | { ok: false; code: "federation/rate-limited"; retryAfterSeconds: number };

const MINUTE_MS = 60_000;

/** `url`: the origin that is to be called. */
export function startReverseVerify(calls: ReverseVerifies, url: string, nowMs: number): ReverseVerifyStep {
  // RFC 3986 section 3.2.2: the port is no part of a host. A last dot names the same one.
  const host = new URL(url).hostname.replace(/\.$/, "");
  const recent = new Map([...calls].filter(([, atMs]) => atMs <= nowMs && atMs > nowMs - MINUTE_MS));
  const heldUpByMs =
    recent.get(host) ?? (recent.size < LIMITS.reverseVerifyHosts ? null : Math.min(...recent.values()));
  if (heldUpByMs === null) return { ok: true, calls: recent.set(host, nowMs) };
  const retryAfterSeconds = Math.max(1, Math.ceil((heldUpByMs + MINUTE_MS - nowMs) / 1_000));
  return { ok: false, code: "federation/rate-limited", retryAfterSeconds };
}
