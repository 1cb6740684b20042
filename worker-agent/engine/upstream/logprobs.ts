import * as z from "zod";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { TokenLogprob } from "../../../schema/wire/worker-frames.ts";

const alternative = z.object({ token: z.string(), logprob: z.number() });
/** The form in chat answers. */
const content = z.object({
  content: z.array(alternative.extend({ top_logprobs: z.array(alternative).nullish().catch(null) })),
});
/** The form in completion answers: parallel lists. */
const legacy = z.object({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()).nullish().catch(null),
});

/** Reads the log probabilities of one event in either of OpenAI's forms. Returns none for any other value. */
export function upstreamLogprobs(value: unknown): TokenLogprob[] {
  const chat = content.safeParse(value);
  if (chat.success) {
    return chat.data.content.map(({ top_logprobs: top, ...one }) => ({
      ...bounded(one),
      top: (top ?? []).map(bounded),
    }));
  }
  const completion = legacy.safeParse(value);
  if (!completion.success) return [];
  const { tokens, token_logprobs: values, top_logprobs: tops } = completion.data;
  return tokens.map((token, i) => ({
    ...bounded({ token, logprob: values[i] ?? 0 }),
    top: Object.entries(tops?.[i] ?? {})
      .map(([other, logprob]) => bounded({ token: other, logprob }))
      .sort((a, b) => b.logprob - a.logprob),
  }));
}

/** Rounding can produce a number above zero. */
function bounded({ token, logprob }: z.infer<typeof alternative>) {
  return { token: token.slice(0, LIMITS.logprobTokenChars), logprob: Math.min(0, logprob) };
}

/** Holds log probabilities until the text of their tokens is sent, so that none is sent for text that a stop sequence cut. */
export class LogprobQueue {
  readonly #topCount: number | undefined;
  readonly #waiting: TokenLogprob[] = [];
  #textChars = 0;
  #tokenChars = 0;
  #hasReceived = false;

  /** @param topCount the number of likeliest tokens for each token; undefined if the request asks for none */
  constructor(topCount: number | undefined) {
    this.#topCount = topCount;
  }

  /** Whether the request asks for log probabilities and the server has sent none. */
  get isMissing(): boolean {
    return this.#topCount !== undefined && !this.#hasReceived;
  }

  push(logprobs: readonly TokenLogprob[]): void {
    if (this.#topCount === undefined || logprobs.length === 0) return;
    this.#hasReceived = true;
    this.#waiting.push(...logprobs.map((one) => ({ ...one, top: one.top.slice(0, this.#topCount) })));
  }

  /** Takes the log probabilities of tokens whose text has been sent, including `text`. */
  takeFor(text: string): TokenLogprob[] {
    this.#textChars += text.length;
    const taken: TokenLogprob[] = [];
    for (let next = this.#waiting[0]; next && this.#tokenChars < this.#textChars; next = this.#waiting[0]) {
      this.#tokenChars += next.token.length;
      taken.push(next);
      this.#waiting.shift();
    }
    return taken;
  }
}
