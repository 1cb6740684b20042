/**
 * The challenge that this pool, as the responder, sends to a pool that wants to register
 * (docs/spec/federation.md#registration). Nothing is stored for that pool: the challenge itself contains all that the
 * confirmation needs, with a MAC that only this pool can make.
 */
import { equalBytes, fromHex, toHex, utf8 } from "../../../schema/crypto/bytes.ts";
import { derivedHmacKey } from "../../../schema/crypto/derived-key.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** The pool and the card for which the challenge was made. */
export interface ChallengeOwner {
  /** Atom id of the initiator. */
  readonly initiator: string;
  /** Hex SHA-256 of the initiator's card (`cardHash`). */
  readonly cardSha256: string;
}

export type ChallengeRead =
  | {
      ok: true;
      /** The challenge's MAC, in hex. It identifies the challenge among the used ones. */
      id: string;
      expiresAtMs: number;
      /** The initiator's own challenge, which its proof covers. */
      initiatorChallenge: string;
    }
  | { ok: false; code: "federation/challenge-refused" };

export interface ChallengeMaker {
  /**
   * Makes a challenge that is valid for `LIMITS.registrationChallengeMs`. `initiatorChallenge`: 32 bytes in hex.
   * `salt`: 16 random bytes in hex, so that no two challenges are alike. `nowMs`: epoch ms.
   */
  make(owner: ChallengeOwner, initiatorChallenge: string, salt: string, nowMs: number): Promise<string>;
  /** Checks the MAC and the expiry. Does not know whether the challenge was used before. */
  read(challenge: string, owner: ChallengeOwner, nowMs: number): Promise<ChallengeRead>;
}

/**
 * The parts of a challenge, in hex: expiry (epoch ms), salt, the initiator's challenge, MAC; 8, 16, 32 and 32 bytes.
 */
const SHAPE = /^([0-9a-f]{16})([0-9a-f]{32})([0-9a-f]{64})([0-9a-f]{64})$/;

/** Derives the MAC key of this pool's challenges. `poolSecretKey`: the pool's 32-byte Ed25519 seed. */
export async function challengeMaker(poolSecretKey: Uint8Array): Promise<ChallengeMaker> {
  const key = await derivedHmacKey(poolSecretKey, "ligand/registration-challenge/v1");

  async function mac(owner: ChallengeOwner, text: string): Promise<Uint8Array> {
    const message = utf8(`ligand-registration-challenge-v1\n${owner.initiator}\n${owner.cardSha256}\n${text}\n`);
    return new Uint8Array(await crypto.subtle.sign("HMAC", key, message));
  }

  return Object.freeze({
    async make(owner: ChallengeOwner, initiatorChallenge: string, salt: string, nowMs: number): Promise<string> {
      const expiresAtMs = nowMs + LIMITS.registrationChallengeMs;
      const text = `${expiresAtMs.toString(16).padStart(16, "0")}${salt}${initiatorChallenge}`;
      return text + toHex(await mac(owner, text));
    },

    async read(challenge: string, owner: ChallengeOwner, nowMs: number): Promise<ChallengeRead> {
      const refused: ChallengeRead = { ok: false, code: "federation/challenge-refused" };
      const [, expiry = "", salt = "", initiatorChallenge = "", tag = ""] = SHAPE.exec(challenge) ?? [];
      const claimed = fromHex(tag);
      const made = await mac(owner, expiry + salt + initiatorChallenge);
      if (claimed === null || !equalBytes(claimed, made)) return refused;
      const expiresAtMs = Number.parseInt(expiry, 16);
      return nowMs < expiresAtMs ? { ok: true, id: tag, expiresAtMs, initiatorChallenge } : refused;
    },
  });
}
