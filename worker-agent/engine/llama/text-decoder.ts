import type { Piece } from "../stop-filter.ts";

/** U+FFFD: a detokenizer writes it for bytes that are not a character, or not yet. */
const REPLACEMENT = "\uFFFD";

/** A UTF-8 character has at most four bytes, and a token has at least one. */
const MAX_SPLIT_TOKENS = 4;

interface DecodedPiece extends Piece {
  /** Bytes that are not a character were dropped. */
  readonly isInvalid: boolean;
}

/**
 * Turns tokens into text, one at a time. If the bytes of a character are spread over several tokens, the character is
 * returned with the last of them. Bytes that never become a character are dropped, so U+FFFD is never returned.
 *
 * @param detokenize returns the text of the tokens that follow `before`
 * @param before the last tokens of the prompt: some vocabularies need them to decide on a leading space
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
        return { text: "", tokens: 0, isInvalid: false };
      const clean = text.replaceAll(REPLACEMENT, "");
      // A token without text (a control token that does not end the answer) is not counted: no client receives it.
      const tokens = Math.min(pending.length, Buffer.byteLength(clean));
      const piece = { text: clean, tokens, isInvalid: clean !== text };
      recent = [...recent, ...pending].slice(-recentTokens);
      pending = [];
      return piece;
    },
  };
}
