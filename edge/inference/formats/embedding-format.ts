/** Answers of `POST /v1/embeddings`. */
import { toBase64 } from "../../../schema/crypto/bytes.ts";
import type { Usage } from "../../../schema/wire/worker-frames.ts";
import type { AnswerHead } from "./answer-format.ts";

/** Bytes of a vector in one piece of text: a multiple of 12, so that no number and no base64 group is cut. */
const SLICE_BYTES = 1_536;

/**
 * The body in small pieces, each generated when it is needed, because a vector as text is five times as large as its
 * bytes, and there may be thousands of vectors.
 * @param vectors bytes of float32, little-endian, which the format base64 encodes unchanged
 */
export function* embeddingPieces(
  head: AnswerHead,
  vectors: readonly Uint8Array[],
  { promptTokens }: Usage,
): Generator<string> {
  const isText = head.encodingFormat === "base64";
  const [begin, end] = isText ? ['"', '"'] : ["[", "]"];
  yield '{"object":"list","data":[';
  for (const [index, bytes] of vectors.entries()) {
    yield `${index > 0 ? "," : ""}{"object":"embedding","index":${index},"embedding":${begin}`;
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
      const slice = bytes.subarray(at, at + SLICE_BYTES);
      yield isText ? toBase64(slice) : `${at > 0 ? "," : ""}${numbers(slice)}`;
    }
    yield `${end}}`;
  }
  const counted = { prompt_tokens: promptTokens, total_tokens: promptTokens };
  yield `],"model":${JSON.stringify(head.model)},"usage":${JSON.stringify(counted)}}`;
}

/** JSON text of the numbers. They are finite, so JSON writes them as JavaScript does. */
function numbers(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true)).join(",");
}
