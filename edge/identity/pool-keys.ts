import { type KeyTagger, keyTagger } from "../../schema/crypto/api-keys.ts";
import { fromBase64 } from "../../schema/crypto/bytes.ts";
import { type Signer, signerFrom } from "../../schema/crypto/ed25519.ts";
import type { Env } from "../env.ts";

/**
 * The pool's identity, and the object that makes and checks the keys that the pool issues. Both are derived from
 * `POOL_SECRET_KEY` (docs/spec/identity.md#secrets).
 */
export interface PoolKeys {
  readonly atomId: string;
  readonly signer: Signer;
  readonly tagger: KeyTagger;
}

// Cache the value, not its promise: in workerd a promise belongs to the request that made it, and may never resolve for
// other requests.
let cached: { secret: string; keys: PoolKeys } | null = null;

/** The keys of this pool, derived once per isolate. Throws if `POOL_SECRET_KEY` is not base64 of 32 bytes. */
export async function poolKeys(env: Pick<Env, "POOL_SECRET_KEY">): Promise<PoolKeys> {
  if (cached?.secret === env.POOL_SECRET_KEY) return cached.keys;
  const keys = await derive(env.POOL_SECRET_KEY);
  cached = { secret: env.POOL_SECRET_KEY, keys };
  return keys;
}

async function derive(secret: string | undefined): Promise<PoolKeys> {
  const secretKey = fromBase64(secret ?? "");
  if (secretKey?.length !== 32) {
    throw new Error("POOL_SECRET_KEY must be base64 of 32 bytes: set it with `wrangler secret put POOL_SECRET_KEY`");
  }
  const signer = await signerFrom(secretKey);
  return { atomId: signer.id, signer, tagger: await keyTagger(secretKey, signer.id) };
}
