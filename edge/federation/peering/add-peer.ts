import { fromHex, toBase64, toHex } from "../../../schema/crypto/bytes.ts";
import { idOfPublicKey } from "../../../schema/crypto/ids.ts";
import { verifyLivenessAnswer } from "../../../schema/crypto/liveness-proof.ts";
import {
  isOwnCard,
  type Registration,
  signRegistrationProof,
  verifyRegistrationProof,
} from "../../../schema/crypto/registration-proof.ts";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import {
  type Card,
  confirmAnswer,
  handshakeAnswer,
  type IdentityCard,
  identityCard,
  offCard,
  registerAnswer,
  verifyAnswer,
} from "../../../schema/wire/federation.ts";
import type { Env } from "../../env.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { bondForPool } from "../bond-for.ts";
import type { RegistrationStatus } from "../bond-rpc.ts";
import { saysItIsOff } from "../delivery/delivery-answer-rules.ts";
import type { CallFailure, PeerAnswer } from "../delivery/peer-answer.ts";
import { callPeer, codeOf, type PeerAddress, readPeer } from "../delivery/peer-client.ts";
import { refusalIn } from "../delivery/refusal-words-rules.ts";
import { ownCard, ownIdentityCard } from "./own-card.ts";
import { wasEverPeer } from "./store.ts";

/** The card of a pool, after that pool and this one have proved their keys to each other; or why that failed. */
export type AddedPeer = { ok: true; card: Card; signatureVersion: 1 | 2 } | Refused;

interface Refused {
  ok: false;
  code: ErrorCode;
  message?: string;
  failure?: CallFailure;
}

const INFO = "/v1/federation/info";
const FEDERATION_IS_OFF = "Federation is switched off at the other pool.";

/**
 * Contacts a pool by its URL, for our admin (docs/spec/federation.md#registration): reads its card, and both pools
 * prove their keys to each other. This pool stores nothing here. The other pool stores nothing before it has our proof.
 * `expected`: the only accepted atom id; undefined accepts any.
 */
export async function addPeer(env: Env, at: PeerToAdd): Promise<AddedPeer> {
  const added = await contactPeer(env, at);
  return added.ok || added.failure === undefined ? added : { ok: false, code: await codeOf(env, added.failure) };
}

interface PeerToAdd {
  url: string;
  expected: string | undefined;
  requestUrl: string;
}

async function contactPeer(env: Env, at: PeerToAdd): Promise<AddedPeer> {
  const read = await readCard(env, at.url);
  if (!read.ok) return read;
  const { card } = read;
  const { signer } = await poolKeys(env);
  if (card.atom_id === signer.id) {
    return { ok: false, code: "federation/wrong-peer", message: "That is this pool's own URL." };
  }
  const isAnother = at.expected !== undefined && at.expected !== card.atom_id;
  if (isAnother) return { ok: false, code: "federation/wrong-peer" };
  const { version: seen } = await registrationStatusOf(env, card.atom_id);
  const version = versionTowards(card, seen);
  const address: PeerAddress = { atomId: card.atom_id, url: at.url, version };
  return version === 2 ? register(env, address, at.requestUrl) : handshake(env, address, card, at.requestUrl);
}

/**
 * Reads the card of the pool at that URL. The atom id is checked against the public key, but the card is not signed.
 */
export async function readCard(env: Env, url: string): Promise<{ ok: true; card: IdentityCard } | Refused> {
  const read = await readPeer(env, url, INFO);
  const refusal = refused(read);
  if (refusal !== null) return refusal;
  if (read.ok && offCard.safeParse(read.body).success) {
    return { ok: false, code: "federation/unreachable", message: FEDERATION_IS_OFF };
  }
  const card = read.ok ? identityCard.safeParse(read.body) : null;
  const publicKey = fromHex(card?.data?.pubkey_hex ?? "");
  if (!card?.success || publicKey === null || (await idOfPublicKey(publicKey)) !== card.data.atom_id) {
    return { ok: false, code: "federation/unreachable", message: "No pool answers at that URL." };
  }
  return { ok: true, card: card.data };
}

/**
 * The signature version to use towards a pool. It is 1 only if the card lacks version 2
 * (docs/spec/federation.md#versions). A card is not signed, so a peer that has ever used version 2 (`seen`) stays at
 * version 2, whatever its card says.
 */
export function versionTowards({ sig_versions }: Pick<IdentityCard, "sig_versions">, seen: 1 | 2): 1 | 2 {
  return sig_versions?.includes(2) ? 2 : seen;
}

/** What this pool knows of an earlier registration of a pool. For an unknown pool this wakes no object. */
export async function registrationStatusOf(env: Env, atomId: string): Promise<RegistrationStatus> {
  const known = await wasEverPeer(env.DB, atomId);
  return known ? bondForPool(env, atomId).registrationStatus() : { revoked: false, version: 1 };
}

/** Registers as the initiator (docs/spec/federation.md#registration). */
async function register(env: Env, address: PeerAddress, requestUrl: string): Promise<AddedPeer> {
  const { signer } = await poolKeys(env);
  const card = await ownCard(env, requestUrl);
  const challenge = toHex(crypto.getRandomValues(new Uint8Array(32)));
  const asked = await callPeer(env, address, {
    method: "POST",
    target: "/api/federation/register",
    body: { card, challenge },
  });
  const refusal = refused(asked);
  if (refusal !== null) return refusal;
  const theirs = asked.ok ? registerAnswer.safeParse(asked.body) : null;
  if (!theirs?.success) return { ok: false, code: "federation/unreachable" };
  const registration: Registration = {
    initiator: { card, challenge },
    responder: { card: theirs.data.card, challenge: theirs.data.challenge },
  };
  const isExpected = theirs.data.card.atom_id === address.atomId && (await isOwnCard(theirs.data.card));
  if (!isExpected || !(await verifyRegistrationProof(theirs.data.proof, "responder", registration))) {
    return { ok: false, code: "federation/wrong-peer" };
  }
  const proof = await signRegistrationProof(signer, "initiator", registration);
  const confirmed = await callPeer(env, address, {
    method: "POST",
    target: "/api/federation/register/confirm",
    body: { card, challenge: theirs.data.challenge, proof },
  });
  const notConfirmed = refused(confirmed);
  if (notConfirmed !== null) return notConfirmed;
  if (!confirmed.ok || !confirmAnswer.safeParse(confirmed.body).success) {
    return { ok: false, code: "federation/unreachable" };
  }
  // Keep the URL that the operator typed, not the URL on the card.
  return { ok: true, card: { ...theirs.data.card, url: address.url }, signatureVersion: 2 };
}

/**
 * Contacts a pool of the existing network (docs/spec/federation.md#endpoints): `handshake` introduces this pool,
 * `verify` proves the other pool's key.
 */
async function handshake(env: Env, address: PeerAddress, info: IdentityCard, requestUrl: string): Promise<AddedPeer> {
  const answered = await introduceTo(env, address, requestUrl);
  const refusal = refused(answered);
  if (refusal !== null) return refusal;
  if (!answered.ok || !handshakeAnswer.safeParse(answered.body).success) {
    return { ok: false, code: "federation/unreachable" };
  }
  const proof = await proofOfKey(env, address, info.pubkey_hex);
  if (proof.is === "refused") return refusedProof(proof.words);
  if (proof.is !== "proved") return { ok: false, code: "federation/wrong-peer" };
  return { ok: true, card: cardOf(info, address.url), signatureVersion: address.version };
}

/** Sends our handshake, so that a pool of the existing network knows us. */
export async function introduceTo(env: Env, address: PeerAddress, requestUrl: string): Promise<PeerAnswer> {
  const { atom_id, name, pubkey_hex, url, molecule_id, capabilities } = await ownIdentityCard(env, requestUrl);
  return callPeer(env, address, {
    method: "POST",
    target: "/v1/federation/handshake",
    body: { atom_id, name, pubkey_hex, url, molecule_id, capabilities, request_reciprocation: false },
  });
}

/**
 * `unknown-there`: the pool answers that it does not know this one. `refused`: it knows this one, and serves it nothing;
 * `words`: what it says about that.
 */
export type KeyProof = { is: "proved" | "unknown-there" | "failed" } | { is: "refused"; words: string };

/** Asks the pool at that URL by `POST /v1/federation/verify` for a proof that it holds the key. */
export async function proofOfKey(env: Env, address: PeerAddress, publicKeyHex: string): Promise<KeyProof> {
  const publicKey = fromHex(publicKeyHex);
  const { atomId } = await poolKeys(env);
  const challenge_b64 = toBase64(crypto.getRandomValues(new Uint8Array(32)));
  const answer = await callPeer(env, address, {
    method: "POST",
    target: "/v1/federation/verify",
    body: { atom_id: atomId, challenge_b64 },
  });
  if (answer.ok && answer.status === 404) return { is: "unknown-there" };
  if (answer.ok && answer.status === 403) return { is: "refused", words: refusalIn(answer.body)?.words ?? "" };
  const proof = answer.ok && answer.status === 200 ? verifyAnswer.safeParse(answer.body) : null;
  if (!proof?.success || publicKey === null) return { is: "failed" };
  const isProved = await verifyLivenessAnswer(proof.data.signed_response_b64, challenge_b64, publicKey);
  return { is: isProved ? "proved" : "failed" };
}

/**
 * Converts the card of a pool of the existing network to this pool's form. Such a card has no tier
 * (docs/spec/identity.md#tiers).
 */
export function cardOf(
  { atom_id, pubkey_hex, name, capabilities }: Pick<IdentityCard, "atom_id" | "pubkey_hex" | "name" | "capabilities">,
  url: string,
): Card {
  return { atom_id, public_key: pubkey_hex, name, url, auth_tier: "device-bound", capabilities };
}

/** The code and message that our admin sees for a refusal; null if the answer is not a refusal. */
function refused(answer: PeerAnswer): Refused | null {
  if (!answer.ok) return answer;
  if (answer.status >= 200 && answer.status < 300) return null;
  if (answer.status === 403) {
    const message = `The other pool does not admit this one.${itsWords(answer)}`;
    return { ok: false, code: "federation/registration-refused", message };
  }
  return { ok: false, code: "federation/unreachable", message: formatRefusal(answer) };
}

/** `verify` is open to every peer that was not revoked, so a refusal of it has one meaning. */
function refusedProof(words: string): Refused {
  const says = words === "" ? "" : ` It says: ${words}`;
  const message = `The other pool has revoked this one.${says}`;
  return { ok: false, code: "federation/registration-refused", message };
}

function formatRefusal(answer: PeerAnswer & { ok: true }): string {
  const { status } = answer;
  if (saysItIsOff(answer)) return FEDERATION_IS_OFF;
  if (status === 401) {
    const what = "The other pool rejects this pool's signature. The clock of one of the two may be wrong.";
    return `${what}${itsWords(answer)}`;
  }
  if (status === 429) return `The other pool accepts no new peers at the moment. Try again later.${itsWords(answer)}`;
  return `The other pool answered ${status}.${itsWords(answer)}`;
}

/** The words of a pool of the existing network, whose errors have no codes. Those of a Ligand pool say no more than the code. */
function itsWords({ body }: PeerAnswer & { ok: true }): string {
  const refusal = refusalIn(body);
  return refusal === null || refusal.code !== null || refusal.words === "" ? "" : ` It says: ${refusal.words}`;
}
