/**
 * What a worker signs: its manifest, its key's proof on a socket, its metering (docs/spec/workers.md#socket-protocol, docs/spec/workers.md#profile-and-manifest, docs/spec/workers.md#metering).
 * Signatures are standard base64, keys lowercase hex. A verification is true only if the worker id that is named is the
 * key's own; it is false, and throws nothing, for anything malformed.
 */

import { type Manifest, type Metering, workerProofText } from "../wire/worker-frames.ts";
import { fromBase64, fromHex, toBase64, utf8 } from "./bytes.ts";
import { canonicalBytes, canonicalBytesOrNull } from "./canonical.ts";
import { type Signer, type VerifyingKey, verify } from "./ed25519.ts";
import { idOfPublicKey } from "./ids.ts";

/** What `workerProofText` joins; every part is lowercase hex. */
export type WorkerProof = Parameters<typeof workerProofText>[0];

/** Over the JCS bytes of the manifest, whose `type` says what it is. */
export async function signManifest(signer: Signer, manifest: Manifest): Promise<string> {
  return toBase64(await signer.sign(canonicalBytes(manifest)));
}

export function verifyManifest(manifest: Manifest, signatureBase64: string, publicKeyHex: string): Promise<boolean> {
  return verifyAs(manifest.worker, canonicalBytesOrNull(manifest), signatureBase64, publicKeyHex);
}

export async function signWorkerProof(signer: Signer, proof: WorkerProof): Promise<string> {
  return toBase64(await signer.sign(utf8(workerProofText(proof))));
}

/** `pool`, `nonce` and `tokenSha256` are to be what the pool itself put into the challenge. */
export function verifyWorkerProof(proof: WorkerProof, signatureBase64: string, publicKeyHex: string): Promise<boolean> {
  return verifyAs(proof.worker, utf8(workerProofText(proof)), signatureBase64, publicKeyHex);
}

/** Over the JCS bytes of the record, whose `type` says what it is. */
export async function signMetering(signer: Signer, metering: Metering): Promise<string> {
  return toBase64(await signer.sign(canonicalBytes(metering)));
}

/** `signed`: the JCS bytes of the record, which its reader has at hand. */
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
