/**
 * A responder's challenge (docs/spec/federation.md#registration): nothing is stored for a stranger who asks. All that the confirmation needs travels
 * in the challenge, under a MAC that only this pool can make. No clock and no randomness: `nowMs` and `salt` come in.
 */
import { equalBytes, fromHex, toHex, utf8 } from "../../../schema/crypto/bytes.ts";
import { derivedHmacKey } from "../../../schema/crypto/derived-key.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Whom it is for. */
export interface ChallengeOwner {
  /** Atom id of the initiator. */
  readonly initiator: string;
  /** Of the initiator's card; hex (`cardHash`). */
  readonly cardSha256: string;
}

export type ChallengeRead =
  | {
      ok: true;
      /** Names this challenge among the used ones: its MAC. */
      id: string;
      expiresAtMs: number;
      /** What the initiator sent first; its proof covers it. */
      initiatorChallenge: string;
    }
  | { ok: false; code: "federation/challenge-refused" };

export interface ChallengeMaker {
  /** `salt`: 16 random bytes in hex, so that no two challenges are alike. */
  make(owner: ChallengeOwner, initiatorChallenge: string, salt: string, nowMs: number): Promise<string>;
  read(challenge: string, owner: ChallengeOwner, nowMs: number): Promise<ChallengeRead>;
}

/** Expiry, salt, the initiator's challenge, MAC: 8, 16, 32 and 32 bytes. */
const SHAPE = /^([0-9a-f]{16})([0-9a-f]{32})([0-9a-f]{64})([0-9a-f]{64})$/;

/** `poolSecretKey`: the pool's 32-byte Ed25519 seed. */
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
