/**
 * The proofs of a registration (docs/spec/federation.md#registration): each side signs both challenges, both cards and its role.
 * Malformed input verifies as false and never throws.
 */
import type { Card } from "../wire/federation.ts";
import { fromBase64, fromHex, toBase64, utf8 } from "./bytes.ts";
import { canonicalBytesOrNull } from "./canonical.ts";
import { type Signer, verify } from "./ed25519.ts";
import { sha256Hex } from "./hash.ts";
import { idOfPublicKey } from "./ids.ts";

export type RegistrationRole = "initiator" | "responder";

/**
 * The two sides of a registration; the initiator registers at the responder. Challenges are lowercase hex, and each is
 * opaque to the other side.
 */
export interface Registration {
  readonly initiator: { readonly card: Card; readonly challenge: string };
  readonly responder: { readonly card: Card; readonly challenge: string };
}

/** Lowercase hex SHA-256 of the card's JCS bytes; null if the card is not valid JSON. */
export async function cardHash(card: Card): Promise<string | null> {
  const bytes = canonicalBytesOrNull(card);
  return bytes && sha256Hex(bytes);
}

/** Whether the card's atom id belongs to its key. */
export async function isOwnCard(card: Card): Promise<boolean> {
  const publicKey = fromHex(card.public_key);
  return publicKey !== null && (await idOfPublicKey(publicKey)) === card.atom_id;
}

/** The bytes that the pool in `role` signs (docs/spec/federation.md#registration); null if a card is not valid JSON. */
export async function registrationProofBytes(
  role: RegistrationRole,
  { initiator, responder }: Registration,
): Promise<Uint8Array | null> {
  const [signer, other] = role === "initiator" ? [initiator, responder] : [responder, initiator];
  const [hashA, hashB] = await Promise.all([cardHash(initiator.card), cardHash(responder.card)]);
  if (hashA === null || hashB === null) return null;
  const lines = ["ligand-register-v1", role, signer.card.atom_id, other.card.atom_id];
  return utf8(`${[...lines, initiator.challenge, responder.challenge, hashA, hashB].join("\n")}\n`);
}

/** Signs the proof for `role`. Returns standard base64. Throws TypeError if a card is not valid JSON. */
export async function signRegistrationProof(
  signer: Signer,
  role: RegistrationRole,
  registration: Registration,
): Promise<string> {
  const bytes = await registrationProofBytes(role, registration);
  if (bytes === null) throw new TypeError("a card is not canonical JSON");
  return toBase64(await signer.sign(bytes));
}

/** Whether the pool in `role` made the proof, with the key on its card. The key must belong to the card's atom id. */
export async function verifyRegistrationProof(
  proofBase64: string,
  role: RegistrationRole,
  registration: Registration,
): Promise<boolean> {
  const { card } = registration[role];
  const proof = fromBase64(proofBase64);
  const publicKey = fromHex(card.public_key);
  const bytes = await registrationProofBytes(role, registration);
  if (proof === null || publicKey === null || bytes === null) return false;
  return (await isOwnCard(card)) && verify(proof, bytes, publicKey);
}
