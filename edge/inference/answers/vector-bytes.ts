/** Decodes the bytes of embedding vectors, and frees them early. */
import { Buffer } from "node:buffer";
import { fromBase64 } from "../../../schema/crypto/bytes.ts";

/**
 * Decodes base64 as strictly as `fromBase64` does; null if the text is not base64. `fromBase64` makes intermediate
 * strings: with thousands of vectors of 43 KB, those would fill the isolate before the runtime collects them.
 */
export function decodeVector(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return null;
  // Only the last group can have padding, or bits that belong to no byte.
  return fromBase64(text.slice(-4)) === null ? null : Buffer.from(text, "base64");
}

/** Frees the memory of vectors now. There may be many megabytes, and the runtime would free them late. */
export function freeVectors(vectors: readonly Uint8Array[]): void {
  // A vector that shares its buffer with others is small: leave it to the garbage collector.
  for (const { buffer, byteLength } of vectors) {
    if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
  }
}
