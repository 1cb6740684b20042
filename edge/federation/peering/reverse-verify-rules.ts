/**
 * A handshake of the existing network makes this pool call its sender (docs/spec/federation.md#registration). This pool
 * calls each host at most once a minute, whatever the port, and at most `LIMITS.reverseVerifyHosts` hosts a minute. So
 * a stranger cannot use this pool to attack a host or to scan its ports. A call ends within a minute, so running calls
 * are counted too.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";

/** The time of the last call to each host, epoch ms. It need not be durable. */
export type ReverseVerifies = ReadonlyMap<string, number>;

export type ReverseVerifyStep =
  | { ok: true; calls: ReverseVerifies }
  | { ok: false; code: "federation/rate-limited"; retryAfterSeconds: number };

const MINUTE_MS = 60_000;

/** Counts one call, or refuses it. `url`: the origin to call. `nowMs`: epoch ms. The caller stores `calls`. */
export function startReverseVerify(calls: ReverseVerifies, url: string, nowMs: number): ReverseVerifyStep {
  // The port is not part of the host (RFC 3986 section 3.2.2). A final dot names the same host.
  const host = new URL(url).hostname.replace(/\.$/, "");
  const recent = new Map([...calls].filter(([, atMs]) => atMs <= nowMs && atMs > nowMs - MINUTE_MS));
  const heldUpByMs =
    recent.get(host) ?? (recent.size < LIMITS.reverseVerifyHosts ? null : Math.min(...recent.values()));
  if (heldUpByMs === null) return { ok: true, calls: recent.set(host, nowMs) };
  const retryAfterSeconds = Math.max(1, Math.ceil((heldUpByMs + MINUTE_MS - nowMs) / 1_000));
  return { ok: false, code: "federation/rate-limited", retryAfterSeconds };
}
