import fc from "fast-check";
import { expect, it } from "vitest";
import { textDecoder } from "../../worker-agent/engine/llama/text-decoder.ts";

/** One byte for each token. The detokenizer writes U+FFFD for bytes that are not a character. */
const byteDecoder = () => textDecoder<number>((bytes) => Buffer.from(bytes).toString("utf8"), []);

it("returns complete characters and counts every token if a token is one byte", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      fc.pre(!text.includes("\uFFFD"));
      const decoder = byteDecoder();
      const pieces = [...Buffer.from(text)].map((byte) => decoder.push(byte));
      expect(pieces.map((piece) => piece.text).join("")).toBe(text);
      expect(pieces.reduce((sum, piece) => sum + piece.tokens, 0)).toBe(Buffer.byteLength(text));
      for (const piece of pieces) expect(piece.text.isWellFormed()).toBe(true);
    }),
  );
});

it("never returns U+FFFD or more tokens than bytes, for any bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const decoder = byteDecoder();
      for (const byte of bytes) {
        const piece = decoder.push(byte);
        expect(piece.text).not.toContain("\uFFFD");
        expect(piece.tokens).toBeLessThanOrEqual(Buffer.byteLength(piece.text));
      }
    }),
  );
});
