import { toHex } from "../../../schema/crypto/bytes.ts";
import {
  type Card,
  capabilityObjects,
  LISTED,
  normalisedPeerUrl,
  poolNameOf,
  type SentIdentityCard,
} from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { poolSettings } from "../../pool/pool-policy.ts";

/**
 * This pool's card for registration (docs/spec/federation.md#registration). Its URL is `POOL_URL`, or the origin of
 * `requestUrl` if `POOL_URL` is not a valid peer URL.
 */
export async function ownCard(env: Env, requestUrl: string): Promise<Card> {
  const [{ atomId, signer }, { name }] = await Promise.all([poolKeys(env), poolSettings(env)]);
  return {
    atom_id: atomId,
    public_key: toHex(signer.publicKey),
    name: poolNameOf(name),
    url: publicUrl(env, requestUrl),
    auth_tier: "device-bound",
    capabilities: [...CAPABILITIES],
  };
}

/**
 * This pool's card in the form of the existing network, for `GET /v1/federation/info`
 * (docs/spec/federation.md#endpoints). `requestUrl`: see `ownCard`.
 */
export async function ownIdentityCard(env: Env, requestUrl: string): Promise<SentIdentityCard> {
  const { atom_id, name, public_key, url, capabilities } = await ownCard(env, requestUrl);
  return {
    mode: "federated",
    atom_id,
    name,
    pubkey_hex: public_key,
    url,
    molecule_id: null,
    capabilities: capabilityObjects(capabilities),
    hop_max: LIMITS.hops,
    nonce_window_sec: LIMITS.signedRequestWindowSeconds,
    schema: 1,
    sig_versions: [1, 2],
  };
}

/** The capability `LISTED` allows peers to name this pool to their own peers. */
const CAPABILITIES = ["chat", "events", LISTED] as const;

function publicUrl(env: Env, requestUrl: string): string {
  return normalisedPeerUrl(env.POOL_URL ?? "") ?? new URL(requestUrl).origin;
}
