/**
 * Limits how many strangers become peers (docs/spec/federation.md#registration). Each challenge is used once.
 * `LIMITS.registrationsPerMinute` bounds the rate, and `LIMITS.lowTrustPeers` the number of peers at trust 1 or less.
 * All times are epoch ms.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Persisted contract: the confirmed registrations of the last minute. The rate bounds both lists. */
export interface Registrations {
  /** Epoch ms of each registration, at most `registrationsPerMinute`. */
  readonly confirmedAtMs: readonly number[];
  /** Used challenges that have not expired. */
  readonly used: readonly UsedChallenge[];
  /**
   * The newest expiry among the challenges that were forgotten. Challenges up to this time are refused, so that a
   * backward clock step makes no used challenge valid again.
   */
  readonly forgottenThroughMs: number;
}

export interface UsedChallenge {
  readonly id: string;
  readonly expiresAtMs: number;
}

export const NO_REGISTRATIONS: Registrations = Object.freeze({ confirmedAtMs: [], used: [], forgottenThroughMs: 0 });

export type RegistrationStep =
  | { ok: true; registrations: Registrations }
  | { ok: false; code: "federation/challenge-refused" }
  | { ok: false; code: "federation/rate-limited"; retryAfterSeconds: number };

const MINUTE_MS = 60_000;

/**
 * Counts one registration, and marks its challenge as used. Call it after the proof was verified. A refusal changes
 * nothing: the challenge has expired or was used, or the rate is exceeded.
 */
export function confirmRegistration(
  registrations: Registrations,
  challenge: UsedChallenge,
  nowMs: number,
): RegistrationStep {
  const { forgottenThroughMs, used } = registrations;
  if (challenge.expiresAtMs <= Math.max(nowMs, forgottenThroughMs) || used.some(({ id }) => id === challenge.id)) {
    return { ok: false, code: "federation/challenge-refused" };
  }
  // Ignore times in the future: they were stored before a backward clock step, and must not delay registrations.
  const confirmedAtMs = registrations.confirmedAtMs.filter((atMs) => atMs <= nowMs && atMs > nowMs - MINUTE_MS);
  const [oldestMs = nowMs] = confirmedAtMs;
  if (confirmedAtMs.length >= LIMITS.registrationsPerMinute) {
    const retryAfterSeconds = Math.max(1, Math.ceil((oldestMs + MINUTE_MS - nowMs) / 1_000));
    return { ok: false, code: "federation/rate-limited", retryAfterSeconds };
  }
  const expired = used.filter(({ expiresAtMs }) => expiresAtMs <= nowMs);
  return {
    ok: true,
    registrations: {
      confirmedAtMs: [...confirmedAtMs, nowMs],
      used: [...used.filter(({ expiresAtMs }) => expiresAtMs > nowMs), challenge],
      forgottenThroughMs: expired.reduce((newest, one) => Math.max(newest, one.expiresAtMs), forgottenThroughMs),
    },
  };
}

/** A peer that is granted trust 1 or less. */
export interface LowTrustPeer {
  readonly atomId: string;
  readonly addedAtMs: number;
  /**
   * Whether our admin added the peer or decided about it. Such a peer is never evicted, so that a crowd of strangers
   * cannot undo a revocation.
   */
  readonly keptByAdmin: boolean;
}

export type Room = { ok: true; evict: string | null } | { ok: false; code: "federation/too-many-peers" };

/**
 * Whether one more stranger fits. `evict`: the atom id of the peer that must be deleted first, the oldest that no admin
 * decided about; null if there is room. `peers`: the peers at trust 1 or less.
 */
export function roomForStranger(peers: readonly LowTrustPeer[]): Room {
  if (peers.length < LIMITS.lowTrustPeers) return { ok: true, evict: null };
  const [first, ...rest] = peers.filter(({ keptByAdmin }) => !keptByAdmin);
  if (first === undefined) return { ok: false, code: "federation/too-many-peers" };
  const oldest = rest.reduce((oldest, peer) => (peer.addedAtMs < oldest.addedAtMs ? peer : oldest), first);
  return { ok: true, evict: oldest.atomId };
}
