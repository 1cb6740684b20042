import { verifyAdminRequest } from "../../../schema/crypto/admin-signature.ts";
import { fromHex } from "../../../schema/crypto/bytes.ts";
import type { AdminSignature } from "../../../schema/wire/admin-requests.ts";
import type { Env } from "../../env.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { adminKeys } from "../../pool/pool-policy.ts";
import type { AdminSignatureState } from "./guard-rules.ts";

interface SignedRequest {
  /** Atom id of the pool whose admin asks. */
  readonly peer: string;
  readonly requestId: string;
  readonly action: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly signature: AdminSignature | null;
}

/**
 * Verifies the admin's signature on a peer's write request (docs/spec/federation.md#admin-keys). The key must be registered for
 * that peer now. Rejects while the keys cannot be read.
 */
export async function checkAdminSignature(env: Env, request: SignedRequest): Promise<AdminSignatureState> {
  const { signature, peer, requestId, action, params } = request;
  if (signature === null) return "absent";
  const registered = (await adminKeys(env)).find((key) => key.key_id === signature.key_id && key.peer === peer);
  const publicKey = registered && fromHex(registered.public_key);
  if (!publicKey) return "invalid";
  const { atomId: destination } = await poolKeys(env);
  const contents = { origin: peer, destination, request_id: requestId, action_type: action, action_params: params };
  return (await verifyAdminRequest(signature, contents as never, publicKey)) ? "valid" : "invalid";
}
