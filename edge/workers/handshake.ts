/** Checks the proof that a worker gives on a new socket (docs/spec/workers.md#socket-protocol). */

import { fromHex } from "../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../schema/crypto/canonical.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import { idOfPublicKey } from "../../schema/crypto/ids.ts";
import { verifyManifest, verifyWorkerProof } from "../../schema/crypto/worker-proof.ts";
import { CLOSE, WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import type { Hello } from "../../schema/wire/worker-frames.ts";

export type Handshake = { ok: true; workerId: string } | { ok: false; close: number; reason: string };

/**
 * Checks the worker's key, its manifest and its signature of the challenge.
 * @param expected the values of this pool's own challenge, never those that the worker repeats
 */
export async function checkHello(
  hello: Hello,
  expected: { pool: string; nonce: string; tokenSha256: string },
): Promise<Handshake> {
  const refuse = (reason: string): Handshake => ({ ok: false, close: CLOSE.policyViolation, reason });
  // An older protocol was refused with 4408 before its frame was parsed strictly.
  if (hello.protocol !== WORKER_PROTOCOL.version) return refuse(`this pool speaks protocol ${WORKER_PROTOCOL.version}`);
  const publicKey = fromHex(hello.publicKey);
  if (!publicKey) return refuse("malformed key");
  const worker = await idOfPublicKey(publicKey);
  if (hello.manifest.worker !== worker) return refuse("the manifest belongs to another worker");
  if (!(await verifyManifest(hello.manifest, hello.manifestSignature, hello.publicKey)))
    return refuse("bad manifest signature");
  const manifestSha256 = await sha256Hex(canonicalBytes(hello.manifest));
  const proof = { ...expected, worker, manifestSha256 };
  if (!(await verifyWorkerProof(proof, hello.signature, hello.publicKey))) return refuse("bad signature");
  return { ok: true, workerId: worker };
}
