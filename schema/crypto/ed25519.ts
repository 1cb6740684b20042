/** Ed25519 (RFC 8032) with strict verification (docs/spec/identity.md#keys-and-signatures). `strict-ed25519.ts` has the rule and its reasons. */

import { getPublicKeyAsync, Point, signAsync } from "@noble/ed25519";
import { concat, equalBytes, fromBase64, toHex } from "./bytes.ts";
import { idOfPublicKey } from "./ids.ts";
import { isStrictlyEncoded, isStrictlyEncodedKey } from "./strict-ed25519.ts";

export const SECRET_KEY_BYTES = 32;

/** Only one of Node's types and the Workers' types names the type `CryptoKey`. */
type ImportedKey = Awaited<ReturnType<typeof crypto.subtle.importKey>>;

const ED25519 = { name: "Ed25519" } as const;
/** PKCS #8 before the 32-byte seed (RFC 8410 section 7). */
const PKCS8_PREFIX = Uint8Array.of(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20);
const BASE_POINT_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

/** Signs, and does not reveal its secret. */
export interface Signer {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Lowercase hex SHA-256 of `publicKey`: the atom id or worker id. */
  readonly id: string;
  /** 64 bytes: deterministic, R ‖ S. */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** 32 random bytes. */
export function generateSecretKey(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(SECRET_KEY_BYTES));
}

/** Throws TypeError if the secret is not 32 bytes; the message does not contain it. */
export async function publicKeyOf(secretKey: Uint8Array): Promise<Uint8Array> {
  assertSecretKey(secretKey);
  if (!(await webCryptoHasEd25519())) return getPublicKeyAsync(secretKey);
  const key = await importSecretKey(secretKey, true);
  const jwk = await crypto.subtle.exportKey("jwk", key);
  // RFC 8037 section 2: x is the public key in base64url without padding.
  const publicKey = "x" in jwk ? fromBase64(`${jwk.x?.replaceAll("-", "+").replaceAll("_", "/")}=`) : null;
  if (publicKey?.length !== 32) throw new Error("the runtime's WebCrypto gave no Ed25519 public key");
  return publicKey;
}

/** Makes one signature. To sign more than once use a `Signer`, which imports the key once. */
export async function sign(secretKey: Uint8Array, message: Uint8Array): Promise<Uint8Array> {
  return (await signWith(secretKey))(message);
}

/**
 * Makes a signer. It copies the secret immediately, so the caller may wipe its own. Throws TypeError if the secret is
 * not 32 bytes.
 */
export async function signerFrom(secretKey: Uint8Array): Promise<Signer> {
  const secret = secretKey.slice();
  const [publicKey, signMessage] = await Promise.all([publicKeyOf(secret), signWith(secret)]);
  return Object.freeze({ publicKey, id: await idOfPublicKey(publicKey), sign: signMessage });
}

/**
 * Verifies strictly. Returns false for any bytes of any length that are not a valid signature; never throws for them.
 */
export async function verify(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): Promise<boolean> {
  return (await webCryptoHasEd25519())
    ? verifyWithWebCrypto(signature, message, publicKey)
    : verifyWithNoble(signature, message, publicKey);
}

/** A key for many verifications, such as that of a worker that signs all its records. */
export interface VerifyingKey {
  /** Lowercase hex SHA-256 of the key: the atom id or worker id. */
  readonly id: string;
  /** As `verify`. */
  verify(signature: Uint8Array, message: Uint8Array): Promise<boolean>;
}

/** Imports the key once. If the bytes are not an acceptable key, every verification returns false. */
export async function verifyingKey(publicKey: Uint8Array): Promise<VerifyingKey> {
  const id = await idOfPublicKey(publicKey);
  if (!(await webCryptoHasEd25519())) {
    return { id, verify: (signature, message) => verifyWithNoble(signature, message, publicKey) };
  }
  const key = await importPublicKey(publicKey);
  return {
    id,
    verify: async (signature, message) =>
      key !== null && isStrictlyEncoded(signature, publicKey) && crypto.subtle.verify(ED25519, key, signature, message),
  };
}

/** Whether `verify` can accept a signature of this key: it is canonical, on the curve and not of small order. */
export function isAcceptableKey(publicKey: Uint8Array): boolean {
  return isStrictlyEncodedKey(publicKey) && decodePoint(publicKey) !== null;
}

/** `verify` with the runtime's WebCrypto, which must have Ed25519. */
export async function verifyWithWebCrypto(
  signature: Uint8Array,
  message: Uint8Array,
  publicKey: Uint8Array,
): Promise<boolean> {
  if (!isStrictlyEncoded(signature, publicKey)) return false;
  // An import costs 6 % of a verification, so a cache of strangers' keys is not worth its memory.
  const key = await importPublicKey(publicKey);
  return key !== null && crypto.subtle.verify(ED25519, key, signature, message);
}

/**
 * `verify` in JavaScript. Noble's own verify, `{ zip215: false }` too, checks the cofactored equation and lets R be of
 * small order: it accepts signatures that the runtimes refuse. So this uses noble's points and computes the equation itself.
 */
export async function verifyWithNoble(
  signature: Uint8Array,
  message: Uint8Array,
  publicKey: Uint8Array,
): Promise<boolean> {
  if (!isStrictlyEncoded(signature, publicKey)) return false;
  const r = signature.slice(0, 32);
  const s = littleEndianToInteger(signature.subarray(32));
  const negatedKey = decodePoint(publicKey)?.negate();
  if (!negatedKey) return false;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", concat(r, publicKey, message)));
  const k = littleEndianToInteger(digest) % BASE_POINT_ORDER;
  // All values are public, so variable time is fine.
  const expected = Point.BASE.multiply(s, false).add(negatedKey.multiply(k, false));
  return equalBytes(expected.toBytes(), r);
}

// ---- The runtime's implementation

// The value, not its promise: in workerd a promise belongs to the request that made it.
let hasEd25519: boolean | null = null;

async function webCryptoHasEd25519(): Promise<boolean> {
  if (hasEd25519 === null) {
    hasEd25519 = await crypto.subtle.importKey("raw", Point.BASE.toBytes(), ED25519, false, ["verify"]).then(
      () => true,
      () => false,
    );
  }
  return hasEd25519;
}

async function signWith(secretKey: Uint8Array): Promise<Signer["sign"]> {
  assertSecretKey(secretKey);
  if (!(await webCryptoHasEd25519())) {
    const secret = secretKey.slice();
    return (message) => signAsync(message, secret);
  }
  const key = await importSecretKey(secretKey, false);
  return async (message) => new Uint8Array(await crypto.subtle.sign(ED25519, key, message));
}

/** Null if the runtime refuses the key at import. */
function importPublicKey(publicKey: Uint8Array): Promise<ImportedKey | null> {
  return crypto.subtle.importKey("raw", publicKey, ED25519, false, ["verify"]).catch(() => null);
}

function importSecretKey(secretKey: Uint8Array, extractable: boolean): Promise<ImportedKey> {
  return crypto.subtle.importKey("pkcs8", concat(PKCS8_PREFIX, secretKey), ED25519, extractable, ["sign"]);
}

// ---- Noble's

function decodePoint(encoded: Uint8Array): Point | null {
  try {
    return Point.fromBytes(encoded);
  } catch {
    return null;
  }
}

function littleEndianToInteger(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes.slice().reverse())}`);
}

function assertSecretKey(secretKey: Uint8Array): void {
  if (secretKey.length !== SECRET_KEY_BYTES) throw new TypeError("an Ed25519 secret key is 32 bytes");
}
