import * as z from "zod";
import type { TokenLogprob } from "../../../schema/wire/worker-frames.ts";
import type { CallPiece } from "./call-assembler.ts";
import { upstreamLogprobs } from "./logprobs.ts";
import { type ClaimedUsage, claimedUsage } from "./usage-rules.ts";

/** One event of a streamed answer, or a whole answer that was not streamed: what of it counts. */
export interface Piece {
  readonly text: string;
  readonly logprobs: readonly TokenLogprob[];
  readonly calls: readonly CallPiece[];
  /** True where the server sent a part of the model's reasoning, which no client is shown. */
  readonly reasons: boolean;
  /** As the server says it; null while it goes on. */
  readonly finishReason: string | null;
  readonly usage: ClaimedUsage | null;
}

export type Reading =
  | { readonly type: "piece"; readonly piece: Piece }
  /** Valid, and no part of an answer: a ping, the results of a filter. */
  | { readonly type: "nothing" }
  | { readonly type: "error"; readonly error: unknown }
  | { readonly type: "unknown" };

/** Mistral's reasoning models send a list of parts, of which only those with a `text` are the answer. */
const text = z.union([
  z.string(),
  z
    .array(z.object({ text: z.string().nullish().catch(null) }))
    .transform((parts) => parts.map((part) => part.text ?? "").join("")),
]);
const name = z.string().nullish().catch(null);
/** llama-server sent `arguments` as an object for a time (ggml-org/llama.cpp#20198). */
const called = z.object({ name, arguments: z.unknown().optional() });
const call = z.object({
  index: z.int().nonnegative().nullish().catch(null),
  id: z.string().nullish().catch(null),
  function: called.nullish(),
});
const content = z.object({
  content: text.nullish(),
  refusal: name,
  reasoning_content: z.unknown().optional(),
  reasoning: z.unknown().optional(),
  tool_calls: z.array(call).nullish(),
  /** What was there before `tool_calls`: one call an answer. */
  function_call: called.nullish(),
});
const choice = z.object({
  index: z.number().nullish(),
  delta: content.nullish(),
  message: content.nullish(),
  text: z.string().nullish(),
  // Ollama and SGLang said "" while the answer went on (ollama/ollama#4357, sgl-project/sglang#3912).
  finish_reason: name,
  error: z.unknown().optional(),
  logprobs: z.unknown().optional(),
});
/** Servers put much more here and not always the same: what is not needed is not looked at. */
const answer = z.object({
  choices: z.array(choice).nullish(),
  usage: z.unknown().optional(),
  error: z.unknown().optional(),
  object: z.unknown().optional(),
});

/** Pure: reads one event, or a whole answer. */
export function readingOf(value: unknown): Reading {
  if (value === null) return { type: "nothing" };
  const parsed = answer.safeParse(value);
  if (!parsed.success) return { type: "unknown" };
  const { choices, usage, error, object } = parsed.data;
  const first = choices?.find(({ index }) => (index ?? 0) === 0);
  // vLLM's own shape is the error itself.
  const said = error || first?.error || (object === "error" ? value : null);
  if (said) return { type: "error", error: said };
  const failure = failureIn(first?.finish_reason);
  if (failure !== null) return { type: "error", error: failure };
  const claimed = claimedUsage(usage);
  if (first === undefined && claimed === null) return { type: "nothing" };
  const spoken = first?.delta ?? first?.message;
  const legacy = spoken?.function_call;
  const calls = spoken?.tool_calls ?? (legacy ? [{ function: legacy }] : []);
  const piece: Piece = {
    text: spoken?.content || spoken?.refusal || first?.text || "",
    logprobs: first?.logprobs ? upstreamLogprobs(first.logprobs) : [],
    calls: calls.map(callPiece),
    reasons: Boolean(spoken?.reasoning_content || spoken?.reasoning),
    finishReason: first?.finish_reason || null,
    usage: claimed,
  };
  return { type: "piece", piece };
}

/**
 * Reasons that servers publish for an answer that failed in the middle. `error` is Mistral's, OpenRouter's and others';
 * `abort` vLLM's and SGLang's; `cancelled` and `time_limit` watsonx's; `network_error` Zhipu's; `user_cancel` and
 * `timeout` Cohere's; `malformed_…` and `unexpected_tool_call` Gemini's.
 */
const FAILED =
  /^(error|failed|abort(ed)?|cancell?ed|user_cancel|time_?out|time_limit|(network|server|internal)_error|(function_call_filter: )?malformed_\w+|unexpected_tool_call)$/i;

/** Pure: an error as it might stand in the stream, where the reason of an answer's end is a failure. */
function failureIn(reason: string | null | undefined): { code: number; message: string } | null {
  // DeepSeek's: its machines were too busy to go on.
  if (reason?.toLowerCase() === "insufficient_system_resource") return { code: 503, message: reason };
  return reason && FAILED.test(reason) ? { code: 500, message: reason } : null;
}

/** Pure: whether nothing of the answer came with it. A server that sends only such pieces makes no progress. */
export function isIdle({ text: words, calls, reasons, finishReason, usage }: Piece): boolean {
  return words === "" && calls.length === 0 && !reasons && finishReason === null && usage === null;
}

function callPiece(given: Partial<z.infer<typeof call>>): CallPiece {
  const text = given.function?.arguments ?? "";
  return {
    index: given.index ?? null,
    // Some servers repeat an empty id or name with every part.
    id: given.id || null,
    name: given.function?.name || null,
    arguments: typeof text === "string" ? text : JSON.stringify(text),
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
  data: z.array(z.object({ index: z.int().nullish(), embedding: z.array(z.number()).min(1) })),
  usage: z.unknown().optional(),
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
  return { vectors, promptTokens: claimedUsage(parsed.data.usage)?.promptTokens ?? null };
}
