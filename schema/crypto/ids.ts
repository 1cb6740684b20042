import { sha256Hex } from "./hash.ts";

/** An atom id or a worker id: lowercase hex SHA-256 of a 32-byte Ed25519 public key (docs/spec/identity.md#ids). */
export function idOfPublicKey(publicKey: Uint8Array): Promise<string> {
  return sha256Hex(publicKey);
}
