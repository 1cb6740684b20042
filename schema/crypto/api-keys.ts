/**
 * Self-authenticating keys (docs/spec/inference.md#client-api): `lk_<id>_<secret>_<tag>` for clients, `lw_<id>_<secret>_<tag>_<atom id>` for
 * workers, `la_<id>_<secret>_<tag>` for admins. The tag proves that this pool made the key, so that a forged key wakes no object
 * (docs/spec/identity.md#issued-keys). The key's record has the secret's SHA-256 and says whether the key is still good.
 */

import { equalBytes, fromHex, toHex, utf8 } from "./bytes.ts";
import { derivedHmacKey } from "./derived-key.ts";
import { sha256Hex } from "./hash.ts";

/** `lk`: a client's key. `lw`: a worker's token, which names the pool that it is for. `la`: an admin's token. */
export type KeyPrefix = "lk" | "lw" | "la";

export interface MintedKey {
  /** 16 lowercase hex digits; not secret. */
  readonly id: string;
  /** The whole key. It is shown once and never stored. */
  readonly text: string;
  /** Lowercase hex SHA-256 of the secret part. This is stored. */
  readonly secretSha256: string;
}

export type KeyAuthenticity = { ok: true; id: string; secretSha256: string } | { ok: false };

export interface KeyTagger {
  mint(prefix: KeyPrefix): Promise<MintedKey>;
  /** Whether this pool made the key for this use. Accepts any string and never throws. */
  authenticate(text: string, prefix: KeyPrefix): Promise<KeyAuthenticity>;
}

const ID_BYTES = 8;
const SECRET_BYTES = 20;
/** 96 bits of HMAC-SHA256: forging needs 2^95 tries at the pool, and then the secret's hash still differs. */
const TAG_BYTES = 12;

const SHAPES = {
  la: /^la_([0-9a-f]{16})_([0-9a-f]{40})_([0-9a-f]{24})$/,
  lk: /^lk_([0-9a-f]{16})_([0-9a-f]{40})_([0-9a-f]{24})$/,
  lw: /^lw_([0-9a-f]{16})_([0-9a-f]{40})_([0-9a-f]{24})_([0-9a-f]{64})$/,
} as const;
const LONGEST_CHARS = 150;

/** `poolSecretKey`: the pool's 32-byte Ed25519 seed. Make the tagger once: each use is then one HMAC and one hash. */
export async function keyTagger(poolSecretKey: Uint8Array, atomId: string): Promise<KeyTagger> {
  const key = await derivedHmacKey(poolSecretKey, "ligand/key-tag/v1");

  async function tag(prefix: KeyPrefix, id: string, secret: string): Promise<Uint8Array> {
    const text = `ligand-key-v1\n${prefix}\n${id}\n${secret}\n${atomId}\n`;
    return new Uint8Array(await crypto.subtle.sign("HMAC", key, utf8(text))).slice(0, TAG_BYTES);
  }

  return Object.freeze({
    async mint(prefix: KeyPrefix): Promise<MintedKey> {
      const id = randomHex(ID_BYTES);
      const secret = randomHex(SECRET_BYTES);
      const own = `${prefix}_${id}_${secret}_${toHex(await tag(prefix, id, secret))}`;
      const text = prefix === "lw" ? `${own}_${atomId}` : own;
      return { id, text, secretSha256: await sha256Hex(utf8(secret)) };
    },

    async authenticate(text: string, prefix: KeyPrefix): Promise<KeyAuthenticity> {
      const parts = shapeOf(text, prefix);
      if (parts === null || (parts.atomId !== undefined && parts.atomId !== atomId)) return { ok: false };
      const claimed = fromHex(parts.tag);
      if (claimed === null || !equalBytes(claimed, await tag(prefix, parts.id, parts.secret))) return { ok: false };
      return { ok: true, id: parts.id, secretSha256: await sha256Hex(utf8(parts.secret)) };
    },
  });
}

/** The pool of a worker token, so that an agent can refuse another pool before it sends the token; null for other text. */
export function atomIdOfWorkerToken(text: string): string | null {
  return shapeOf(text, "lw")?.atomId ?? null;
}

/** The public id of a worker token, as its pool lists it; null for other text. */
export function idOfWorkerToken(text: string): string | null {
  return shapeOf(text, "lw")?.id ?? null;
}

function shapeOf(text: string, prefix: KeyPrefix) {
  const match = text.length <= LONGEST_CHARS ? SHAPES[prefix].exec(text) : null;
  const [, id, secret, tag, atomId] = match ?? [];
  return id !== undefined && secret !== undefined && tag !== undefined ? { id, secret, tag, atomId } : null;
}

function randomHex(bytes: number): string {
  return toHex(crypto.getRandomValues(new Uint8Array(bytes)));
}
