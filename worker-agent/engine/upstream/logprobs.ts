import * as z from "zod";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { TokenLogprob } from "../../../schema/wire/worker-frames.ts";

const alternative = z.object({ token: z.string(), logprob: z.number() });
/** Of a chat. */
const content = z.object({
  content: z.array(alternative.extend({ top_logprobs: z.array(alternative).nullish().catch(null) })),
});
/** Of a completion: lists side by side. */
const legacy = z.object({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()).nullish().catch(null),
});

/** Pure: the log probabilities of one event in either of OpenAI's shapes; none where a server says another thing. */
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

/** A float may round to above zero, and some servers say minus infinity as the least of floats. */
function bounded({ token, logprob }: z.infer<typeof alternative>) {
  return { token: token.slice(0, LIMITS.logprobTokenChars), logprob: Math.min(0, logprob) };
}

/** Keeps log probabilities until the text of their tokens goes out, so that none is told of what a stop sequence cut. */
export class LogprobQueue {
  readonly #most: number | undefined;
  readonly #waiting: TokenLogprob[] = [];
  #textChars = 0;
  #tokenChars = 0;
  #heard = false;

  /** @param most of the likeliest tokens beside each; undefined: nobody asks */
  constructor(most: number | undefined) {
    this.#most = most;
  }

  /** Whether the request asks, and the server has told none. */
  get isMissing(): boolean {
    return this.#most !== undefined && !this.#heard;
  }

  push(logprobs: readonly TokenLogprob[]): void {
    if (this.#most === undefined || logprobs.length === 0) return;
    this.#heard = true;
    this.#waiting.push(...logprobs.map((one) => ({ ...one, top: one.top.slice(0, this.#most) })));
  }

  /** Those whose text has gone out with this. */
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
