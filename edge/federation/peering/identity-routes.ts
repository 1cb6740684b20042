import { Hono } from "hono";
import { answerLivenessChallenge } from "../../../schema/crypto/liveness-proof.ts";
import type { PeerRow } from "../../../schema/db/peers.ts";
import {
  capabilityObjects,
  handshakeBody,
  LISTED,
  type SentHandshakeAnswer,
  type SentMoleculeAnswer,
  type SentMoleculePeer,
  verifyBody,
} from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { fail } from "../../http/errors.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { bondForPool } from "../bond-for.ts";
import type { PeerAddress } from "../delivery/peer-client.ts";
import { requestRoutes } from "../inbox/request-routes.ts";
import {
  countRefusedRequests,
  type FederatedEnv,
  federated,
  type PeerEnv,
  readSigned,
  refuseUnlessSignedBy,
  signedBody,
  signedPeer,
  unauthenticated,
} from "../signing/signed-peer.ts";
import { cardOf, introduceTo, proofOfKey, readCard, registrationStatusOf, versionTowards } from "./add-peer.ts";
import { ownIdentityCard } from "./own-card.ts";
import { answerPeerStatus, noteUptime } from "./peer-status.ts";
import { mayRegister, registerPeer } from "./registration-routes.ts";
import { type ReverseVerifies, startReverseVerify } from "./reverse-verify-rules.ts";
import { findPeer, peersSeen } from "./store.ts";

/**
 * `/v1/federation`: the endpoints that pools of the existing network have too (docs/spec/federation.md#endpoints).
 */
export const identityRoutes = new Hono<FederatedEnv & PeerEnv>()
  .use("*", countRefusedRequests)
  .use("*", async (_, next) => {
    noteUptime(Date.now());
    await next();
  })

  .route("/admin", requestRoutes)

  .get("/info", federated({ touchesEconomy: false }), async (c) => c.json(await ownIdentityCard(c.env, c.req.url)))

  /**
   * Registers a pool of the existing network. The key in the body must have signed the request, and the pool at the URL
   * in the body must prove the same key.
   */
  .post("/handshake", async (c) => {
    const read = await readSigned(c, { legacy: "reads", touchesEconomy: false });
    if (read instanceof Response) return read;
    const body = signedBody(c, read.body, handshakeBody);
    if (body instanceof Response) return body;
    const refusal = await refuseUnlessSignedBy(c, read, { atomId: body.atom_id, publicKeyHex: body.pubkey_hex });
    if (refusal !== null) return refusal;
    const { policy } = c.var;
    if (!mayRegister(body, policy)) return fail(c, "federation/registration-refused");
    // Check this before reading anything for the request: a pool that asks too often then costs one verification.
    const started = startReverseVerify(reverseVerifies, body.url, Date.now());
    if (!started.ok) return fail(c, started.code, { retryAfterSeconds: started.retryAfterSeconds });
    reverseVerifies = started.calls;
    const { version: signed, nonce, timestampSeconds } = read.headers;
    if (signed < (await registrationStatusOf(c.env, body.atom_id)).version)
      return unauthenticated(c, "version-1-refused");
    const version = signed === 2 ? 2 : await versionOnCard(c.env, body);
    if (version === null) return fail(c, "federation/registration-refused");
    const known = await findPeer(c.env.DB, body.atom_id);
    const address = { atomId: body.atom_id, url: body.url, version };
    if (!(await provesItsKeyBack(c.env, address, body.pubkey_hex, c.req.url)))
      return fail(c, "federation/registration-refused");
    const once = {
      id: `${body.atom_id}:${nonce}`,
      expiresAtMs: (timestampSeconds + LIMITS.nonceRetentionSeconds) * 1_000,
    };
    const registered = await registerPeer(c.env, cardOf(body, body.url), once, policy, version);
    if (!registered.ok) return fail(c, registered.code, { retryAfterSeconds: registered.retryAfterSeconds });
    const answer: SentHandshakeAnswer = {
      ok: true,
      peer_trust_level: await bondForPool(c.env, body.atom_id).effectiveTrust(policy.min_auth_tier),
      signature_verified: true,
      reciprocation_scheduled: false,
      already_known: known !== undefined,
      self: await ownIdentityCard(c.env, c.req.url),
    };
    return c.json(answer);
  })

  /**
   * Proves that this pool can be reached and holds its key. This is the only signature of this pool without a domain
   * tag.
   */
  .post("/verify", signedPeer({ legacy: "reads", touchesEconomy: false, rate: "request", minTrust: 1 }), async (c) => {
    const body = signedBody(c, c.var.body, verifyBody);
    if (body instanceof Response) return body;
    if (body.atom_id !== c.var.peer.atomId) return unauthenticated(c, "wrong-key");
    const { signer } = await poolKeys(c.env);
    return c.json({ signed_response_b64: await answerLivenessChallenge(signer, body.challenge_b64) });
  })

  .get(
    "/molecule",
    signedPeer({ legacy: "reads", touchesEconomy: false, rate: "request", minTrust: 2, isRead: true }),
    async (c) => {
      const [own, seen] = await Promise.all([
        ownIdentityCard(c.env, c.req.url),
        peersSeen(c.env.DB, 2, Date.now() - LIMITS.peerSeenMs),
      ]);
      const { mode, molecule_id, atom_id, name, url, capabilities } = own;
      const listed = seen.map(moleculePeer).filter((peer) => peer.capabilities.some(({ kind }) => kind === LISTED));
      const answer: SentMoleculeAnswer = {
        mode,
        molecule_id,
        self: { atom_id, name, url, molecule_id, capabilities, last_seen: null },
        trusted_peers: listed.filter((peer) => peer.atom_id !== c.var.peer.atomId),
      };
      return c.json(answer);
    },
  )

  .post(
    "/peer/status",
    signedPeer({
      legacy: "reads",
      touchesEconomy: false,
      rate: "request",
      minTrust: 3,
      trustUse: "peer-status",
      isRead: true,
    }),
    answerPeerStatus,
  );

/** Kept per isolate, because a first contact must not wake an object (docs/spec/pool.md#shape, rule 5). */
let reverseVerifies: ReverseVerifies = new Map();

/**
 * The signature version for an unknown pool that signed with version 1. Null: the URL in its body does not show its
 * card.
 */
async function versionOnCard(env: Env, { atom_id, url }: { atom_id: string; url: string }): Promise<1 | 2 | null> {
  const read = await readCard(env, url);
  return read.ok && read.card.atom_id === atom_id ? versionTowards(read.card, 1) : null;
}

/**
 * Calls the sender of a handshake back. A pool of the existing network does not know us while its own handshake is under
 * way, and answers 404: it then gets our handshake, and is asked once more.
 */
async function provesItsKeyBack(
  env: Env,
  address: PeerAddress,
  publicKeyHex: string,
  requestUrl: string,
): Promise<boolean> {
  const proof = await proofOfKey(env, address, publicKeyHex);
  if (proof.is !== "unknown-there" || address.version === 2) return proof.is === "proved";
  await introduceTo(env, address, requestUrl);
  return (await proofOfKey(env, address, publicKeyHex)).is === "proved";
}

function moleculePeer(row: PeerRow): SentMoleculePeer {
  return {
    atom_id: row.id,
    name: row.name,
    url: row.url,
    molecule_id: null,
    capabilities: capabilityObjects(JSON.parse(row.capabilities) as string[]),
    last_seen: row.seenAtMs === null ? null : new Date(row.seenAtMs).toISOString(),
  };
}
