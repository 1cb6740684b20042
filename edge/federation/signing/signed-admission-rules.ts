/**
 * The checks of a signed request in the peer's `Bond` (docs/spec/federation.md#signed-requests): version, window, rate,
 * nonce. A refused request changes nothing: a replay uses up no rate, and a rate-limited request stores no nonce.
 */
import { type PeerRate, type PeerRateLimits, type RateKind, takeRate, UNUSED_RATE } from "./peer-rate-rules.ts";
import {
  NOTHING_PURGED,
  type NonceRow,
  type PurgedThroughSeconds,
  type ReplayRefusal,
  replayRefusal,
} from "./replay-window-rules.ts";

/** Persisted contract: one value for each peer, beside its nonces. */
export interface PeerTraffic {
  readonly rate: PeerRate;
  readonly purgedThroughSeconds: PurgedThroughSeconds;
  /** The newest version that the peer has signed with. Once it is 2, version 1 is neither accepted from the peer nor sent to it. */
  readonly signatureVersion: 1 | 2;
}

export const NO_TRAFFIC: PeerTraffic = Object.freeze({
  rate: UNUSED_RATE,
  purgedThroughSeconds: NOTHING_PURGED,
  signatureVersion: 1,
});

export interface AdmissionRequest extends NonceRow {
  readonly version: 1 | 2;
  readonly kind: RateKind;
  /** The rate for a peer below trust 2, where it differs. */
  readonly kindBelow2?: RateKind | undefined;
}

/** The caller stores `traffic` and `row` in one transaction. */
export type SignedAdmission =
  | { ok: true; traffic: PeerTraffic; row: NonceRow }
  | { ok: false; code: "federation/unauthenticated"; reason: ReplayRefusal | "version-1-refused" }
  | { ok: false; code: "federation/rate-limited"; retryAfterSeconds: number };

/** `seen`: there is a row with this nonce. */
export function admitSigned(
  traffic: PeerTraffic,
  request: AdmissionRequest,
  seen: boolean,
  limits: PeerRateLimits,
  nowMs: number,
): SignedAdmission {
  const refuse = (reason: ReplayRefusal | "version-1-refused"): SignedAdmission => ({
    ok: false,
    code: "federation/unauthenticated",
    reason,
  });
  if (request.version < traffic.signatureVersion) return refuse("version-1-refused");
  const replay = replayRefusal(traffic.purgedThroughSeconds, request, seen, Math.floor(nowMs / 1_000));
  if (replay === "clock-skew") return refuse(replay);
  const taken = takeRate(traffic.rate, request.kind, limits, nowMs);
  if (!taken.ok) return { ok: false, code: "federation/rate-limited", retryAfterSeconds: taken.retryAfterSeconds };
  if (replay !== null) return refuse(replay);
  return {
    ok: true,
    traffic: { ...traffic, rate: taken.rate, signatureVersion: request.version },
    row: { nonce: request.nonce, timestampSeconds: request.timestampSeconds },
  };
}
