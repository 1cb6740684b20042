/**
 * The signature of an admin's own key on a write request (docs/spec/federation.md#admin-keys). It is made offline, and the
 * pool's key cannot replace it. Malformed input verifies as false and never throws.
 */
import type { AdminSignature, SignedAdminRequest } from "../wire/admin-requests.ts";
import { fromBase64, toBase64 } from "./bytes.ts";
import { canonicalBytes, canonicalBytesOrNull } from "./canonical.ts";
import { type Signer, verify } from "./ed25519.ts";

/** The members that a signature covers, beside those that say what they are. */
export type AdminRequestContents = Omit<SignedAdminRequest, "v" | "type" | "key_id" | "expires_at">;

function signedRequest(contents: AdminRequestContents, keyId: string, expiresAt: number): SignedAdminRequest {
  const { origin, destination, request_id, action_type, action_params } = contents;
  return {
    v: 1,
    type: "admin_request",
    origin,
    destination,
    request_id,
    action_type,
    action_params,
    expires_at: expiresAt,
    key_id: keyId,
  };
}

/** `expiresAtSeconds`: unix seconds. Throws TypeError for parameters that are not JSON. */
export async function signAdminRequest(
  admin: Signer,
  contents: AdminRequestContents,
  expiresAtSeconds: number,
): Promise<AdminSignature> {
  const bytes = canonicalBytes(signedRequest(contents, admin.id, expiresAtSeconds));
  return { key_id: admin.id, expires_at: expiresAtSeconds, signature: toBase64(await admin.sign(bytes)) };
}

/** Whether the key of `key_id` signed this request for this destination. The caller checks that the key is registered. */
export async function verifyAdminRequest(
  { key_id, expires_at, signature }: AdminSignature,
  contents: AdminRequestContents,
  publicKey: Uint8Array,
): Promise<boolean> {
  const bytes = canonicalBytesOrNull(signedRequest(contents, key_id, expires_at));
  const given = fromBase64(signature);
  return bytes !== null && given !== null && verify(given, bytes, publicKey);
}
