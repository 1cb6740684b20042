/** Signatures of the Standard Webhooks specification, version 1.0.0, with a shared secret. */
import { concat, fromBase64, toBase64, utf8 } from "./bytes.ts";

const PREFIX = "whsec_";
const MIN_KEY_BYTES = 24;
const MAX_KEY_BYTES = 64;
const NEW_KEY_BYTES = 32;

/** A fresh random secret: `whsec_` and base64. */
export function newWebhookSecret(): string {
  return PREFIX + toBase64(crypto.getRandomValues(new Uint8Array(NEW_KEY_BYTES)));
}

/** The key of a secret; null if the text is not a secret of 24 to 64 bytes. */
export function webhookKey(secret: string): Uint8Array | null {
  const key = secret.startsWith(PREFIX) ? fromBase64(secret.slice(PREFIX.length)) : null;
  return key !== null && key.length >= MIN_KEY_BYTES && key.length <= MAX_KEY_BYTES ? key : null;
}

/** The value of `webhook-signature`. No `id` may contain a full stop, because full stops separate the signed parts. */
export async function signWebhook(
  key: Uint8Array,
  id: string,
  timestampSeconds: number,
  payload: Uint8Array,
): Promise<string> {
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const signer = await crypto.subtle.importKey("raw", key, hmac, false, ["sign"]);
  const signature = await crypto.subtle.sign(hmac, signer, concat(utf8(`${id}.${timestampSeconds}.`), payload));
  return `v1,${toBase64(new Uint8Array(signature))}`;
}
