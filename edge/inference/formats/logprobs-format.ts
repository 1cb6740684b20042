/** Log probabilities in the shapes of OpenAI's two text APIs. */
import { utf8 } from "../../../schema/crypto/bytes.ts";
import type { TokenLogprob } from "../../../schema/wire/worker-frames.ts";

/** For `/v1/chat/completions`. */
export function chatLogprobs(tokens: readonly TokenLogprob[]): object {
  const content = tokens.map(({ token, logprob, top }) => ({
    ...shown({ token, logprob }),
    top_logprobs: top.map(shown),
  }));
  return { content, refusal: null };
}

/** A token that is only part of a character has no text. The worker did not send its bytes, so they are null. */
function shown({ token, logprob }: Pick<TokenLogprob, "token" | "logprob">) {
  return { token, logprob, bytes: token.includes("\uFFFD") ? null : [...utf8(token)] };
}

/**
 * For `/v1/completions`.
 *
 * @param offset characters of text before these tokens
 */
export function completionLogprobs(tokens: readonly TokenLogprob[], offset: number): object {
  let at = offset;
  const text_offset = tokens.map(({ token }) => {
    const begins = at;
    at += token.length;
    return begins;
  });
  const alternatives = tokens.map(({ token, logprob, top }) =>
    // Add the token itself. So there may be one alternative more than the request asks for.
    Object.fromEntries([...top.map((one) => [one.token, one.logprob] as const), [token, logprob]]),
  );
  return {
    tokens: tokens.map(({ token }) => token),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.some(({ top }) => top.length > 0) ? alternatives : null,
    text_offset,
  };
}
