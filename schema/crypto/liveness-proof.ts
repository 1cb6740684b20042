/**
 * The answer to `POST /v1/federation/verify` (docs/spec/federation.md#endpoints): a signature over sha256(challenge ‖ own atom id), the id as
 * text. It is the only signature without a purpose in its bytes, as the existing network has it; no other signed message
 * has 32 bytes.
 */
import { concat, fromBase64, toBase64, utf8 } from "./bytes.ts";
import { type Signer, verify } from "./ed25519.ts";
import { sha256 } from "./hash.ts";
import { idOfPublicKey } from "./ids.ts";

const CHALLENGE_BYTES = 32;

/**
 * Signs the answer to a challenge. Returns standard base64; null unless the challenge is base64 of exactly 32 bytes.
 */
export async function answerLivenessChallenge(signer: Signer, challengeBase64: string): Promise<string | null> {
  const message = await livenessMessage(challengeBase64, signer.id);
  return message && toBase64(await signer.sign(message));
}

/** Whether the owner of `publicKey` (32 bytes) signed the answer to this challenge. False for malformed input. */
export async function verifyLivenessAnswer(
  answerBase64: string,
  challengeBase64: string,
  publicKey: Uint8Array,
): Promise<boolean> {
  const answer = fromBase64(answerBase64);
  const message = await livenessMessage(challengeBase64, await idOfPublicKey(publicKey));
  return answer !== null && message !== null && verify(answer, message, publicKey);
}

async function livenessMessage(challengeBase64: string, atomId: string): Promise<Uint8Array | null> {
  const challenge = fromBase64(challengeBase64);
  return challenge?.length === CHALLENGE_BYTES ? sha256(concat(challenge, utf8(atomId))) : null;
}
