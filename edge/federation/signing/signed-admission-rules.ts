/**
 * The checks of a signed request in the peer's `Bond` (docs/spec/federation.md#signed-requests): version, window, rate,
 * nonce. A refused request changes nothing: a replay uses up no rate, and a rate-limited request stores no nonce.
 */
import type { TrustUse } from "../peering/trust-rules.ts";
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
  /**
   * The newest signature version that the peer has used. Once it is 2, this pool neither accepts version 1 from the
   * peer nor sends it.
   */
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
  /** The rate that counts if the peer is below trust 2; `kind` if absent. */
  readonly kindBelow2?: RateKind | undefined;
  /** What the caller does with the trust that an admission returns; `other` if absent. */
  readonly use?: TrustUse | undefined;
}

/** The caller stores `traffic` and `row` in one transaction. */
export type SignedAdmission =
  | { ok: true; traffic: PeerTraffic; row: NonceRow }
  | { ok: false; code: "federation/unauthenticated"; reason: ReplayRefusal | "version-1-refused" }
  | { ok: false; code: "federation/rate-limited"; retryAfterSeconds: number };

/**
 * Admits or refuses a request, in the order that the header of this file states. `seen`: a row with this nonce exists.
 * `nowMs`: epoch ms.
 */
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
