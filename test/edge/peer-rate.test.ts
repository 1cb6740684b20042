import { applyD1Migrations, reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeEach, expect, it } from "vitest";
import { toBase64, toHex, utf8 } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import { freshNonce, signRequest } from "../../schema/crypto/request-signature.ts";
import { FEDERATION_POLICY_DEFAULTS } from "../../schema/wire/federation.ts";
import { admin, ask } from "./support.ts";

/** The operator sets the rate of requests of each peer. The isolate of the change applies it immediately, others within 100 ms. */

const VERIFY = "/v1/federation/verify";
let peer: Signer;
let destination: string;

beforeEach(async () => {
  await reset();
  await applyD1Migrations(env.DB, env.TEST_MIGRATIONS);
  await admin("PATCH", "/federation", { federation: "on" });
  peer = await signerFrom(generateSecretKey());
  ({ atom_id: destination } = await admin<{ atom_id: string }>("GET", "/pool"));
  const card = {
    atom_id: peer.id,
    public_key: toHex(peer.publicKey),
    name: "peer",
    url: "https://peer.example",
    auth_tier: "device-bound" as const,
    capabilities: [],
  };
  await env.BOND.getByName(peer.id).register(card, FEDERATION_POLICY_DEFAULTS, 2);
});

/** How often each status came. */
async function statuses(count: number): Promise<Record<number, number>> {
  const counted: Record<number, number> = {};
  const challenge_b64 = toBase64(new Uint8Array(32));
  const text = JSON.stringify({ atom_id: peer.id, challenge_b64 });
  for (let i = 0; i < count; i++) {
    const timestampSeconds = Math.floor(Date.now() / 1_000);
    const request = { method: "POST", target: VERIFY, body: utf8(text), destination, timestampSeconds };
    const headers = await signRequest(peer, { ...request, nonce: freshNonce() });
    const { status } = await ask(VERIFY, { method: "POST", body: text, headers });
    counted[status] = (counted[status] ?? 0) + 1;
  }
  return counted;
}

it("the rate of a peer is the one in the policy", async () => {
  await admin("PATCH", "/federation", { peer_requests_per_minute: 2 });
  expect(await statuses(3)).toEqual({ 200: 2, 429: 1 });
  await admin("PATCH", "/federation", { peer_requests_per_minute: 100_000 });
  expect(await statuses(70)).toEqual({ 200: 70 });
});

it.each([0, -1, 1.5, 1_000_001])("the rate of a peer cannot be %j", async (peer_requests_per_minute) => {
  await admin("PATCH", "/federation", { peer_requests_per_minute }, 400);
});
