import { fromHex } from "../../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../../schema/crypto/canonical.ts";
import { verifyingKey } from "../../../schema/crypto/ed25519.ts";
import { verifyMetering } from "../../../schema/crypto/worker-proof.ts";
import type { Metering } from "../../../schema/wire/worker-frames.ts";

/** What the pool concludes about a record, from its parts as they are on the wire. */
export async function meteringHolds(record: Metering, signature: string, publicKeyHex: string): Promise<boolean> {
  const publicKey = fromHex(publicKeyHex);
  if (publicKey === null) return false;
  return verifyMetering(record, canonicalBytes(record), signature, await verifyingKey(publicKey));
}
