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
import { ownCard, ownIdentityCard } from "./own-card.ts";
import { wasEverPeer } from "./store.ts";

/** A peer and this pool have proved their keys to each other. */
export type AddedPeer = { ok: true; card: Card; signatureVersion: 1 | 2 } | Refused;

interface Refused {
  ok: false;
  code: ErrorCode;
  message?: string;
  failure?: CallFailure;
}

const INFO = "/v1/federation/info";

/**
 * Adds a peer by its URL, for our admin (docs/spec/federation.md#registration): reads the card, and both pools prove their
 * keys to each other. Nothing is stored here, and nothing at the peer before our proof. `expected`: the only atom id that
 * is accepted; any if undefined.
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
    return { ok: false, code: "federation/wrong-peer", message: "At that URL is this pool itself." };
  }
  const isAnother = at.expected !== undefined && at.expected !== card.atom_id;
  if (isAnother) return { ok: false, code: "federation/wrong-peer" };
  const { version: seen } = await registrationStatusOf(env, card.atom_id);
  const version = versionTowards(card, seen);
  const address: PeerAddress = { atomId: card.atom_id, url: at.url, version };
  return version === 2 ? register(env, address, at.requestUrl) : handshake(env, address, card, at.requestUrl);
}

/** Reads the card of the pool at that URL. Its atom id belongs to its key, but nobody has signed the card. */
export async function readCard(env: Env, url: string): Promise<{ ok: true; card: IdentityCard } | Refused> {
  const read = await readPeer(env, url, INFO);
  const refusal = refused(read);
  if (refusal !== null) return refusal;
  const card = read.ok ? identityCard.safeParse(read.body) : null;
  const publicKey = fromHex(card?.data?.pubkey_hex ?? "");
  if (!card?.success || publicKey === null || (await idOfPublicKey(publicKey)) !== card.data.atom_id) {
    return { ok: false, code: "federation/unreachable", message: "No pool answers at that URL." };
  }
  return { ok: true, card: card.data };
}

/**
 * Version 1 is used only towards a pool whose card lacks version 2 (docs/spec/federation.md#versions). A card is not signed,
 * so that a peer that has used version 2 stays at version 2, whatever its card says.
 */
export function versionTowards({ sig_versions }: Pick<IdentityCard, "sig_versions">, seen: 1 | 2): 1 | 2 {
  return sig_versions?.includes(2) ? 2 : seen;
}

/** For an unknown pool the answer is blank, and no object wakes. */
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
  const isWhoWeAsked = theirs.data.card.atom_id === address.atomId && (await isOwnCard(theirs.data.card));
  if (!isWhoWeAsked || !(await verifyRegistrationProof(theirs.data.proof, "responder", registration))) {
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
  // The URL that the operator typed, not the one on the card.
  return { ok: true, card: { ...theirs.data.card, url: address.url }, signatureVersion: 2 };
}

/**
 * Adds a pool of the existing network (docs/spec/federation.md#endpoints): `handshake` introduces us, `verify` proves its key.
 */
async function handshake(env: Env, address: PeerAddress, info: IdentityCard, requestUrl: string): Promise<AddedPeer> {
  const { atom_id, name, pubkey_hex, url, molecule_id, capabilities } = await ownIdentityCard(env, requestUrl);
  const said = await callPeer(env, address, {
    method: "POST",
    target: "/v1/federation/handshake",
    body: { atom_id, name, pubkey_hex, url, molecule_id, capabilities, request_reciprocation: false },
  });
  const refusal = refused(said);
  if (refusal !== null) return refusal;
  if (!said.ok || !handshakeAnswer.safeParse(said.body).success) return { ok: false, code: "federation/unreachable" };
  if (!(await provesItsKey(env, address, info.pubkey_hex))) return { ok: false, code: "federation/wrong-peer" };
  return { ok: true, card: cardOf(info, address.url), signatureVersion: address.version };
}

/** Whether the pool at that URL proves by `POST /v1/federation/verify` that it holds the key. */
export async function provesItsKey(env: Env, address: PeerAddress, publicKeyHex: string): Promise<boolean> {
  const publicKey = fromHex(publicKeyHex);
  const { atomId } = await poolKeys(env);
  const challenge_b64 = toBase64(crypto.getRandomValues(new Uint8Array(32)));
  const answer = await callPeer(env, address, {
    method: "POST",
    target: "/v1/federation/verify",
    body: { atom_id: atomId, challenge_b64 },
  });
  const said = answer.ok && answer.status === 200 ? verifyAnswer.safeParse(answer.body) : null;
  if (!said?.success || publicKey === null) return false;
  return verifyLivenessAnswer(said.data.signed_response_b64, challenge_b64, publicKey);
}

/** The card of a pool of the existing network, as one of ours. It has no tier (docs/spec/identity.md#tiers). */
export function cardOf(
  { atom_id, pubkey_hex, name, capabilities }: Pick<IdentityCard, "atom_id" | "pubkey_hex" | "name" | "capabilities">,
  url: string,
): Card {
  return { atom_id, public_key: pubkey_hex, name, url, auth_tier: "device-bound", capabilities };
}

/** What our admin is shown about a refusal; null if the answer is no refusal. */
function refused(answer: PeerAnswer): Refused | null {
  if (!answer.ok) return answer;
  if (answer.status >= 200 && answer.status < 300) return null;
  if (answer.status === 403) {
    return { ok: false, code: "federation/registration-refused", message: "The other pool does not admit this one." };
  }
  return { ok: false, code: "federation/unreachable", message: formatRefusal(answer) };
}

function formatRefusal({ status, body }: PeerAnswer & { ok: true }): string {
  if (status === 401) return "The other pool does not believe our signature, as when one of the two clocks is wrong.";
  if (status === 429) return "The other pool takes nobody new just now.";
  return saysItIsOff({ status, body })
    ? "Federation is switched off at the other pool."
    : `The other pool answered ${status}.`;
}
