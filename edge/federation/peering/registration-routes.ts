import { Hono } from "hono";
import { fromBase64, toHex } from "../../../schema/crypto/bytes.ts";
import {
  cardHash,
  isOwnCard,
  signRegistrationProof,
  verifyRegistrationProof,
} from "../../../schema/crypto/registration-proof.ts";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import {
  type Card,
  confirmBody,
  type FederationPolicy,
  isAllowedPeerUrl,
  registerBody,
} from "../../../schema/wire/federation.ts";
import type { Env } from "../../env.ts";
import { fail } from "../../http/errors.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { bondForPeer, bondForPool } from "../bond-for.ts";
import { type FederatedEnv, readSigned, refuseUnlessSignedBy, signedBody } from "../signing/signed-peer.ts";
import { registrationStatusOf } from "./add-peer.ts";
import { ownCard } from "./own-card.ts";
import { registryForRegistrations } from "./peer-registry-for.ts";
import { type ChallengeMaker, challengeMaker } from "./registration-challenge.ts";
import type { UsedChallenge } from "./registration-rules.ts";
import { isTierAccepted } from "./trust-rules.ts";

/**
 * Registration with mutual challenges (docs/spec/federation.md#registration). This pool is the responder. Both requests
 * must be signed with version 2.
 */
export const registrationRoutes = new Hono<FederatedEnv>()
  /** Stores nothing: the challenge in the answer contains what the confirmation needs, with a MAC. */
  .post("/register", async (c) => {
    const read = await readSigned(c, { legacy: "never", touchesEconomy: false });
    if (read instanceof Response) return read;
    const body = signedBody(c, read.body, registerBody);
    if (body instanceof Response) return body;
    const { card, challenge } = body;
    const refusal = await refuseUnlessSignedBy(c, read, { atomId: card.atom_id, publicKeyHex: card.public_key });
    if (refusal !== null) return refusal;
    if (!mayRegister(card, c.var.policy)) return fail(c, "federation/registration-refused");
    const [{ signer }, own, cardSha256, maker] = await Promise.all([
      poolKeys(c.env),
      ownCard(c.env, c.req.url),
      cardHash(card),
      challenges(c.env),
    ]);
    if (cardSha256 === null) return fail(c, "federation/registration-refused");
    const salt = toHex(crypto.getRandomValues(new Uint8Array(16)));
    const ours = await maker.make({ initiator: card.atom_id, cardSha256 }, challenge, salt, Date.now());
    const proof = await signRegistrationProof(signer, "responder", {
      initiator: { card, challenge },
      responder: { card: own, challenge: ours },
    });
    return c.json({ card: own, challenge: ours, proof });
  })

  /** Registers the peer in its `Bond`, at trust 1. */
  .post("/register/confirm", async (c) => {
    const read = await readSigned(c, { legacy: "never", touchesEconomy: false });
    if (read instanceof Response) return read;
    const body = signedBody(c, read.body, confirmBody);
    if (body instanceof Response) return body;
    const { card, challenge, proof } = body;
    const refusal = await refuseUnlessSignedBy(c, read, { atomId: card.atom_id, publicKeyHex: card.public_key });
    if (refusal !== null) return refusal;
    if (!mayRegister(card, c.var.policy)) return fail(c, "federation/registration-refused");
    const cardSha256 = await cardHash(card);
    if (cardSha256 === null) return fail(c, "federation/challenge-refused");
    const opened = await (await challenges(c.env)).read(challenge, { initiator: card.atom_id, cardSha256 }, Date.now());
    if (!opened.ok) return fail(c, opened.code);
    const registration = {
      initiator: { card, challenge: opened.initiatorChallenge },
      responder: { card: await ownCard(c.env, c.req.url), challenge },
    };
    if (!(await isOwnCard(card)) || !(await verifyRegistrationProof(proof, "initiator", registration))) {
      return fail(c, "federation/challenge-refused");
    }
    const registered = await registerPeer(c.env, card, opened, c.var.policy, 2);
    if (!registered.ok) return fail(c, registered.code, { retryAfterSeconds: registered.retryAfterSeconds });
    return c.json({ status: "registered" });
  });

/**
 * Registers a pool that has proved its key, if there is room (docs/spec/federation.md#registration). `id` and
 * `expiresAtMs` identify the proof, so that it is used once. Errors are codes: the registration is refused, the rate is
 * exceeded, or there are too many peers.
 */
export async function registerPeer(
  env: Env,
  card: Card,
  { id, expiresAtMs }: UsedChallenge,
  policy: FederationPolicy,
  signatureVersion: 1 | 2,
): Promise<{ ok: true } | { ok: false; code: ErrorCode; retryAfterSeconds?: number }> {
  // Refuse a revoked peer here, so that no other peer is evicted for it.
  if ((await registrationStatusOf(env, card.atom_id)).revoked)
    return { ok: false, code: "federation/registration-refused" };
  const registry = registryForRegistrations(env);
  const entry = await registry.register(card.atom_id, { id, expiresAtMs });
  if (!entry.ok) return entry;
  if (entry.evict !== null) await bondForPool(env, entry.evict).evict();
  const registered = await bondForPeer(env, card.atom_id).register(card, policy, signatureVersion);
  if (registered.ok) return { ok: true };
  // The registration was refused after all: the peer was revoked, or the policy changed meanwhile.
  if (entry.isNew) await registry.forget(card.atom_id);
  return registered;
}

/** Whether the policy allows the card's URL, and its tier. Call it before any other work for the card. */
export function mayRegister(card: Pick<Card, "url">, policy: FederationPolicy): boolean {
  return isAllowedPeerUrl(card.url, policy) && isTierAccepted(policy);
}

let maker: { secret: string; maker: ChallengeMaker } | null = null;

async function challenges(env: Env): Promise<ChallengeMaker> {
  if (maker?.secret === env.POOL_SECRET_KEY) return maker.maker;
  const made = await challengeMaker(fromBase64(env.POOL_SECRET_KEY) ?? new Uint8Array());
  maker = { secret: env.POOL_SECRET_KEY, maker: made };
  return made;
}
