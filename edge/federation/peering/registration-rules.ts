/**
 * How many strangers may become peers (docs/spec/federation.md#registration): each challenge is used once, ten registrations
 * a minute, a hundred peers at trust 1 and less.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Persisted contract: the confirmed registrations of the last minute. The rate bounds both lists. */
export interface Registrations {
  /** Epoch ms of each registration, at most `registrationsPerMinute`. */
  readonly confirmedAtMs: readonly number[];
  /** Used challenges that have not expired. */
  readonly used: readonly UsedChallenge[];
  /**
   * The newest expiry among forgotten challenges. Therefore a clock that steps back makes no used challenge valid again.
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

/** Call it after the proof was verified. A refusal changes nothing. */
export function confirmRegistration(
  registrations: Registrations,
  challenge: UsedChallenge,
  nowMs: number,
): RegistrationStep {
  const { forgottenThroughMs, used } = registrations;
  if (challenge.expiresAtMs <= Math.max(nowMs, forgottenThroughMs) || used.some(({ id }) => id === challenge.id)) {
    return { ok: false, code: "federation/challenge-refused" };
  }
  // A time in the future is from before a backward clock step. It delays no registration.
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
   * Our admin added the peer or decided about it. It is never evicted: a crowd of strangers must not undo a revocation.
   */
  readonly keptByAdmin: boolean;
}

export type Room = { ok: true; evict: string | null } | { ok: false; code: "federation/too-many-peers" };

/** The peer that must go before another one is registered; null if there is room. */
export function roomForStranger(peers: readonly LowTrustPeer[]): Room {
  if (peers.length < LIMITS.lowTrustPeers) return { ok: true, evict: null };
  const [first, ...rest] = peers.filter(({ keptByAdmin }) => !keptByAdmin);
  if (first === undefined) return { ok: false, code: "federation/too-many-peers" };
  const oldest = rest.reduce((oldest, peer) => (peer.addedAtMs < oldest.addedAtMs ? peer : oldest), first);
  return { ok: true, evict: oldest.atomId };
}
