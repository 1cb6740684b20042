import { utf8 } from "./bytes.ts";

/**
 * A key for HMAC-SHA256, derived from the pool's secret by HKDF (RFC 5869) with a label for each use. So no derived key
 * reveals another or the signing key.
 */
export async function derivedHmacKey(secretKey: Uint8Array, label: string) {
  const secret = await crypto.subtle.importKey("raw", secretKey, "HKDF", false, ["deriveBits"]);
  const derivation = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: utf8(label) };
  const bits = await crypto.subtle.deriveBits(derivation, secret, 256);
  return crypto.subtle.importKey("raw", bits, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}
