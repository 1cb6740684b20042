/** Answers of `POST /v1/embeddings`. Pure. */
import { toBase64 } from "../../schema/crypto/bytes.ts";
import type { Usage } from "../../schema/wire/worker-frames.ts";
import type { AnswerHead } from "./answer-format.ts";

/**
 * The body as pieces, one for each vector, made only when it is asked for: as text a vector is five times as large as
 * its bytes, and there may be thousands.
 *
 * @param vectors bytes of float32, little-endian: what the format base64 shows as it is
 */
export function* embeddingPieces(
  head: AnswerHead,
  vectors: readonly Uint8Array[],
  { promptTokens }: Usage,
): Generator<string> {
  yield '{"object":"list","data":[';
  for (const [index, bytes] of vectors.entries()) {
    const embedding = head.encodingFormat === "base64" ? toBase64(bytes) : floats(bytes);
    yield `${index > 0 ? "," : ""}${JSON.stringify({ object: "embedding", index, embedding })}`;
  }
  const counted = { prompt_tokens: promptTokens, total_tokens: promptTokens };
  yield `],"model":${JSON.stringify(head.model)},"usage":${JSON.stringify(counted)}}`;
}

function floats(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}
