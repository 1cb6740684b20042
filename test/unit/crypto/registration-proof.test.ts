import { describe, expect, it } from "vitest";
import { fromBase64, fromHex, toBase64, toHex } from "../../../schema/crypto/bytes.ts";
import { signerFrom } from "../../../schema/crypto/ed25519.ts";
import { answerLivenessChallenge, verifyLivenessAnswer } from "../../../schema/crypto/liveness-proof.ts";
import {
  cardHash,
  isOwnCard,
  type Registration,
  type RegistrationRole,
  registrationProofBytes,
  signRegistrationProof,
  verifyRegistrationProof,
} from "../../../schema/crypto/registration-proof.ts";
import { type Card, card } from "../../../schema/wire/federation.ts";
import vectors from "../../vectors/federation-signatures.json" with { type: "json" };
import { flipped, seed } from "./ed25519-cases.ts";

const { registration: given } = vectors;
const signerOf = (secretHex: string) => signerFrom(fromHex(secretHex) ?? expect.fail("hex"));
const signers = {
  initiator: await signerOf(vectors.origin.secret_key_hex),
  responder: await signerOf(vectors.destination.secret_key_hex),
};
const third = await signerFrom(await seed("third pool"));
const registration: Registration = {
  initiator: { card: card.parse(given.card_a), challenge: given.challenge_a },
  responder: { card: card.parse(given.card_b), challenge: given.challenge_b },
};
const roles: { role: RegistrationRole; other: RegistrationRole }[] = [
  { role: "initiator", other: "responder" },
  { role: "responder", other: "initiator" },
];

describe.each(roles)("the $role's proof", ({ role, other }) => {
  const proof = given[role].proof_base64;

  it("equals the vector, byte for byte", async () => {
    const bytes = await registrationProofBytes(role, registration);
    expect(bytes && toHex(bytes)).toBe(given[role].signed_bytes_hex);
    expect(await signRegistrationProof(signers[role], role, registration)).toBe(proof);
    expect(await verifyRegistrationProof(proof, role, registration)).toBe(true);
  });

  it("does not verify for the other role, nor with another key", async () => {
    expect(await verifyRegistrationProof(proof, other, registration)).toBe(false);
    const forged = await signRegistrationProof(third, role, registration);
    expect(await verifyRegistrationProof(forged, role, registration)).toBe(false);
    const swapped = { initiator: registration.responder, responder: registration.initiator };
    expect(await verifyRegistrationProof(proof, role, swapped)).toBe(false);
    expect(await verifyRegistrationProof(proof, other, swapped)).toBe(false);
  });

  it("is refused with any byte of proof, challenge or card changed", async () => {
    const bytes = fromBase64(proof) ?? expect.fail("base64");
    for (let at = 0; at < bytes.length; at++) {
      expect(await verifyRegistrationProof(toBase64(flipped(bytes, at * 8)), role, registration)).toBe(false);
    }
    for (const side of ["initiator", "responder"] as const) {
      for (const changed of mutations(registration[side])) {
        const mutated = { ...registration, [side]: changed };
        expect(await verifyRegistrationProof(proof, role, mutated), JSON.stringify(changed)).toBe(false);
      }
    }
  });

  it("of a card whose atom id is not that of its key is refused, although the signature matches", async () => {
    const { card, challenge } = registration[role];
    const stolen = { ...registration, [role]: { card: { ...card, public_key: toHex(third.publicKey) }, challenge } };
    expect(await isOwnCard(card)).toBe(true);
    expect(await isOwnCard(stolen[role].card)).toBe(false);
    const forged = await signRegistrationProof(third, role, stolen);
    expect(await verifyRegistrationProof(forged, role, stolen)).toBe(false);
  });

  it.each(["", "AA==", "é", proof.slice(0, -1), `${proof}=`])("malformed as %j is refused", async (bad) => {
    expect(await verifyRegistrationProof(bad, role, registration)).toBe(false);
  });
});

/** Changes each character of each text, and each member that is not text. */
function* mutations({ card, challenge }: { card: Card; challenge: string }) {
  for (let at = 0; at < challenge.length; at++) yield { card, challenge: flipChar(challenge, at) };
  for (const [name, value] of Object.entries(card)) {
    if (typeof value !== "string") continue;
    for (let at = 0; at < value.length; at++) yield { challenge, card: { ...card, [name]: flipChar(value, at) } };
  }
  yield { challenge, card: { ...card, capabilities: ["listed"] } };
}

function flipChar(text: string, at: number): string {
  return text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);
}

it("a card's hash covers its canonical bytes, whatever the order of its members", async () => {
  const { card } = registration.initiator;
  const reversed = Object.fromEntries(Object.entries(card).reverse()) as Card;
  expect(await cardHash(reversed)).toBe(await cardHash(card));
  expect(await cardHash({ ...card, name: "\ud800" })).toBeNull();
});

it("a name that JSON cannot express does not verify, and does not throw", async () => {
  const side = { ...registration.initiator, card: { ...registration.initiator.card, name: "\ud800" } };
  const proof = given.initiator.proof_base64;
  expect(await verifyRegistrationProof(proof, "initiator", { ...registration, initiator: side })).toBe(false);
});

describe("a liveness challenge", () => {
  const challenge = toBase64(new Uint8Array(32).fill(7));

  it("is answered only by the key, and only for that challenge", async () => {
    const answer = (await answerLivenessChallenge(third, challenge)) ?? "";
    expect(await verifyLivenessAnswer(answer, challenge, third.publicKey)).toBe(true);
    expect(await verifyLivenessAnswer(answer, challenge, signers.initiator.publicKey)).toBe(false);
    expect(await verifyLivenessAnswer(answer, toBase64(new Uint8Array(32)), third.publicKey)).toBe(false);
    expect(await verifyLivenessAnswer("", challenge, third.publicKey)).toBe(false);
  });

  it.each([31, 33, 0])("of %i bytes is not answered", async (length) => {
    expect(await answerLivenessChallenge(third, toBase64(new Uint8Array(length)))).toBeNull();
  });
});
