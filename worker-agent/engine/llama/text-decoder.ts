import type { Piece } from "../stop-filter.ts";

/** U+FFFD: what a detokenizer writes for bytes that are not, or not yet, a character. */
const REPLACEMENT = "\uFFFD";

/** A UTF-8 character has at most four bytes, and a token at least one. */
const MAX_SPLIT_TOKENS = 4;

interface DecodedPiece extends Piece {
  /** Bytes that are no character were dropped. */
  readonly broken: boolean;
}

/**
 * Turns tokens into text, one at a time. A character whose bytes are spread over several tokens comes out whole with
 * the last of them; bytes that never become a character are dropped, so U+FFFD is never emitted.
 *
 * @param detokenize text of some tokens that follow `before`
 * @param before the prompt's last tokens: they decide on a leading space in some vocabularies
 */
export function textDecoder<Token>(
  detokenize: (tokens: readonly Token[], before: readonly Token[]) => string,
  before: readonly Token[],
): { push(token: Token): DecodedPiece } {
  const recentTokens = 4;
  let recent = before.slice(-recentTokens);
  let pending: Token[] = [];

  return {
    push(token) {
      pending.push(token);
      const text = detokenize(pending, recent);
      if (text.endsWith(REPLACEMENT) && pending.length < MAX_SPLIT_TOKENS)
        return { text: "", tokens: 0, broken: false };
      const clean = text.replaceAll(REPLACEMENT, "");
      // A token without text (a control token that does not end the answer) is not counted: nobody receives it.
      const tokens = Math.min(pending.length, Buffer.byteLength(clean));
      const piece = { text: clean, tokens, broken: clean !== text };
      recent = [...recent, ...pending].slice(-recentTokens);
      pending = [];
      return piece;
    },
  };
}
