import * as z from "zod";

/** A call of a tool, or the next part of one: what a server gives only at its begin is null later. */
export interface CallPiece {
  readonly index: number;
  readonly id: string | null;
  readonly name: string | null;
  readonly arguments: string;
}

/** One event of a streamed answer, or a whole answer that was not streamed: what of it counts. */
export interface Piece {
  readonly text: string;
  readonly calls: readonly CallPiece[];
  /** As the server says it; null while it goes on. */
  readonly finishReason: string | null;
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number } | null;
}

const tokens = z.number().int().nonnegative();
const call = z.object({
  index: z.number().int().nonnegative().optional(),
  id: z.string().nullish(),
  function: z.object({ name: z.string().nullish(), arguments: z.string().nullish() }).nullish(),
});
const content = z.object({ content: z.string().nullish(), tool_calls: z.array(call).nullish() });

/** Servers put much more here and not always the same: what is not needed is not looked at. */
const answer = z.object({
  choices: z
    .array(
      z.object({
        index: z.number().optional(),
        delta: content.nullish(),
        message: content.nullish(),
        text: z.string().nullish(),
        finish_reason: z.string().nullish(),
      }),
    )
    .default([]),
  usage: z.object({ prompt_tokens: tokens, completion_tokens: tokens.default(0) }).nullish(),
});

/** Pure: null for what is no answer. */
export function pieceOf(value: unknown): Piece | null {
  const parsed = answer.safeParse(value);
  if (!parsed.success) return null;
  const { choices, usage } = parsed.data;
  const choice = choices.find(({ index = 0 }) => index === 0);
  if (choice === undefined && (usage ?? null) === null) return null;
  return {
    text: choice?.delta?.content ?? choice?.message?.content ?? choice?.text ?? "",
    calls: (choice?.delta?.tool_calls ?? choice?.message?.tool_calls ?? []).map((one, at) => ({
      index: one.index ?? at,
      // Some servers repeat an empty id or name with every part.
      id: one.id || null,
      name: one.function?.name || null,
      arguments: one.function?.arguments ?? "",
    })),
    finishReason: choice?.finish_reason ?? null,
    usage: usage ? { promptTokens: usage.prompt_tokens, completionTokens: usage.completion_tokens } : null,
  };
}

/** Joins the halves of a character that a server put into two events; half a character without its other is U+FFFD. */
export function wholeCharacters(): { push(text: string): string; flush(): string } {
  let half = "";
  return {
    push(text) {
      const joined = half + text;
      const last = joined.charCodeAt(joined.length - 1);
      half = last >= 0xd800 && last <= 0xdbff ? joined.slice(-1) : "";
      return joined.slice(0, joined.length - half.length).toWellFormed();
    },
    flush() {
      const rest = half.toWellFormed();
      half = "";
      return rest;
    },
  };
}

const limit = z.number().int().positive().nullish().catch(null);

/** `GET /v1/models`; the context's size under the names that vLLM, llama-server and OpenRouter give it. */
const modelList = z.object({
  data: z.array(
    z.object({
      id: z.string().min(1),
      max_model_len: limit,
      context_length: limit,
      context_window: limit,
      meta: z.object({ n_ctx: limit, n_ctx_train: limit }).nullish().catch(null),
    }),
  ),
});

export interface ListedModel {
  readonly id: string;
  readonly contextTokens: number | null;
}

/** Pure: null for what is no list of models. */
export function listedModels(value: unknown): ListedModel[] | null {
  const parsed = modelList.safeParse(value);
  if (!parsed.success) return null;
  return parsed.data.data.map((model) => ({
    id: model.id,
    contextTokens:
      model.max_model_len ??
      model.context_length ??
      model.context_window ??
      model.meta?.n_ctx ??
      model.meta?.n_ctx_train ??
      null,
  }));
}

const embeddings = z.object({
  data: z.array(z.object({ index: z.number().int().optional(), embedding: z.array(z.number()).min(1) })),
  usage: z.object({ prompt_tokens: tokens }).nullish(),
});

export interface Embedded {
  /** By input; of length 1 (L2). */
  readonly vectors: readonly Float32Array[];
  readonly promptTokens: number | null;
}

/** Pure: null for what is not one vector an input, all as long. */
export function embeddedIn(value: unknown, inputs: number): Embedded | null {
  const parsed = embeddings.safeParse(value);
  if (!parsed.success || parsed.data.data.length !== inputs) return null;
  const ordered = parsed.data.data
    .map(({ index, embedding }, at) => ({ index: index ?? at, embedding }))
    .sort((a, b) => a.index - b.index);
  const dimensions = ordered[0]?.embedding.length;
  if (ordered.some(({ index, embedding }, at) => index !== at || embedding.length !== dimensions)) return null;
  const vectors = ordered.map(({ embedding }) => {
    const norm = Math.hypot(...embedding);
    return Float32Array.from(embedding, (one) => (norm === 0 ? 0 : one / norm));
  });
  return { vectors, promptTokens: parsed.data.usage?.prompt_tokens ?? null };
}
