/** Answers of `POST /v1/embeddings`. Pure. */
import { toBase64 } from "../../schema/crypto/bytes.ts";
import type { Usage } from "../../schema/wire/worker-frames.ts";
import type { AnswerHead } from "./answer-format.ts";

/** @param vectors bytes of float32, little-endian: what the format base64 shows as it is */
export function embeddingAnswer(head: AnswerHead, vectors: readonly Uint8Array[], usage: Usage): string {
  const data = vectors.map((bytes, index) => {
    const embedding = head.encodingFormat === "base64" ? toBase64(bytes) : floats(bytes);
    return { object: "embedding", index, embedding };
  });
  const { promptTokens } = usage;
  const counted = { prompt_tokens: promptTokens, total_tokens: promptTokens };
  return JSON.stringify({ object: "list", data, model: head.model, usage: counted });
}

function floats(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}
