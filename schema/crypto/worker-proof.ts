/**
 * The signatures of a worker: of its manifest, of its proof on a socket, of its metering (docs/spec/workers.md#socket-protocol, docs/spec/workers.md#profile-and-manifest, docs/spec/workers.md#metering).
 * Signatures are standard base64, keys lowercase hex. A verification is true only if the named worker id belongs
 * to the key. It is false for malformed input, and never throws.
 */

import { type Manifest, type Metering, workerProofText } from "../wire/worker-frames.ts";
import { fromBase64, fromHex, toBase64, utf8 } from "./bytes.ts";
import { canonicalBytes, canonicalBytesOrNull } from "./canonical.ts";
import { type Signer, type VerifyingKey, verify } from "./ed25519.ts";
import { idOfPublicKey } from "./ids.ts";

/** The parts that `workerProofText` joins. Each is lowercase hex. */
export type WorkerProof = Parameters<typeof workerProofText>[0];

/** Signs the JCS bytes of the manifest. Its `type` names the purpose of the signature. */
export async function signManifest(signer: Signer, manifest: Manifest): Promise<string> {
  return toBase64(await signer.sign(canonicalBytes(manifest)));
}

/** Whether the worker that the manifest names has signed it. */
export function verifyManifest(manifest: Manifest, signatureBase64: string, publicKeyHex: string): Promise<boolean> {
  return verifyAs(manifest.worker, canonicalBytesOrNull(manifest), signatureBase64, publicKeyHex);
}

/** Signs the text of the proof (`workerProofText`). */
export async function signWorkerProof(signer: Signer, proof: WorkerProof): Promise<string> {
  return toBase64(await signer.sign(utf8(workerProofText(proof))));
}

/**
 * Verifies the proof of a worker. The caller takes `pool`, `nonce` and `tokenSha256` from its own challenge, not from
 * the worker.
 */
export function verifyWorkerProof(proof: WorkerProof, signatureBase64: string, publicKeyHex: string): Promise<boolean> {
  return verifyAs(proof.worker, utf8(workerProofText(proof)), signatureBase64, publicKeyHex);
}

/** Signs the JCS bytes of the record. Its `type` names the purpose of the signature. */
export async function signMetering(signer: Signer, metering: Metering): Promise<string> {
  return toBase64(await signer.sign(canonicalBytes(metering)));
}

/** `signed`: the JCS bytes of the record, which the caller has computed already. */
export async function verifyMetering(
  metering: Metering,
  signed: Uint8Array,
  signatureBase64: string,
  key: VerifyingKey,
): Promise<boolean> {
  const signature = fromBase64(signatureBase64);
  return signature !== null && key.id === metering.worker && key.verify(signature, signed);
}

async function verifyAs(
  worker: string,
  message: Uint8Array | null,
  signatureBase64: string,
  publicKeyHex: string,
): Promise<boolean> {
  const signature = fromBase64(signatureBase64);
  const publicKey = fromHex(publicKeyHex);
  if (message === null || signature === null || publicKey === null) return false;
  return (await idOfPublicKey(publicKey)) === worker && verify(signature, message, publicKey);
}
