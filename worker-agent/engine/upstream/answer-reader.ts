import * as z from "zod";
import type { TokenLogprob } from "../../../schema/wire/worker-frames.ts";
import type { CallPiece } from "./call-assembler.ts";
import { upstreamLogprobs } from "./logprobs.ts";
import { type ClaimedUsage, claimedUsage } from "./usage-rules.ts";

/** The used parts of one event of a streamed answer, or of a complete answer that was not streamed. */
export interface AnswerPiece {
  readonly text: string;
  readonly logprobs: readonly TokenLogprob[];
  readonly calls: readonly CallPiece[];
  /** Whether the event has a part of the model's reasoning, which is not sent to clients. */
  readonly hasReasoning: boolean;
  /** In the server's own words. Null while the answer continues. */
  readonly finishReason: string | null;
  readonly usage: ClaimedUsage | null;
}

export type Reading =
  | { readonly type: "piece"; readonly piece: AnswerPiece }
  /** Valid, but no part of an answer: a ping, the results of a filter. */
  | { readonly type: "nothing" }
  | { readonly type: "error"; readonly error: unknown }
  | { readonly type: "unknown" };

/** Mistral's reasoning models send a list of parts. Only parts with a `text` belong to the answer. */
const text = z.union([
  z.string(),
  z
    .array(z.object({ text: z.string().nullish().catch(null) }))
    .transform((parts) => parts.map((part) => part.text ?? "").join("")),
]);
const name = z.string().nullish().catch(null);
/** Some versions of llama-server send `arguments` as an object (ggml-org/llama.cpp#20198). */
const calledFunction = z.object({ name, arguments: z.unknown().optional() });
const call = z.object({
  index: z.int().nonnegative().nullish().catch(null),
  id: z.string().nullish().catch(null),
  function: calledFunction.nullish(),
});
const content = z.object({
  content: text.nullish(),
  refusal: name,
  reasoning_content: z.unknown().optional(),
  reasoning: z.unknown().optional(),
  tool_calls: z.array(call).nullish(),
  /** The older form of `tool_calls`, with one call for each answer. */
  function_call: calledFunction.nullish(),
});
const choice = z.object({
  index: z.number().nullish(),
  delta: content.nullish(),
  message: content.nullish(),
  text: z.string().nullish(),
  // Some versions of Ollama and SGLang send "" while the answer continues (ollama/ollama#4357, sgl-project/sglang#3912).
  finish_reason: name,
  error: z.unknown().optional(),
  logprobs: z.unknown().optional(),
});
/** Servers add many other fields, in different forms. Fields that are not used are not checked. */
const answer = z.object({
  choices: z.array(choice).nullish(),
  usage: z.unknown().optional(),
  error: z.unknown().optional(),
  object: z.unknown().optional(),
});

/** Reads one event, or a complete answer. */
export function readAnswer(value: unknown): Reading {
  if (value === null) return { type: "nothing" };
  const parsed = answer.safeParse(value);
  if (!parsed.success) return { type: "unknown" };
  const { choices, usage, error, object } = parsed.data;
  const first = choices?.find(({ index }) => (index ?? 0) === 0);
  // vLLM sends the error object itself as the event.
  const reported = error || first?.error || (object === "error" ? value : null);
  if (reported) return { type: "error", error: reported };
  const failure = failureIn(first?.finish_reason);
  if (failure !== null) return { type: "error", error: failure };
  const claimed = claimedUsage(usage);
  if (first === undefined && claimed === null) return { type: "nothing" };
  const message = first?.delta ?? first?.message;
  const functionCall = message?.function_call;
  const calls = message?.tool_calls ?? (functionCall ? [{ function: functionCall }] : []);
  const piece: AnswerPiece = {
    text: message?.content || message?.refusal || first?.text || "",
    logprobs: first?.logprobs ? upstreamLogprobs(first.logprobs) : [],
    calls: calls.map(callPiece),
    hasReasoning: Boolean(message?.reasoning_content || message?.reasoning),
    finishReason: first?.finish_reason || null,
    usage: claimed,
  };
  return { type: "piece", piece };
}

/**
 * The finish reasons that servers document for an answer that failed in the middle. `error`: Mistral, OpenRouter and
 * others; `abort`: vLLM and SGLang; `cancelled` and `time_limit`: watsonx; `network_error`: Zhipu; `user_cancel` and
 * `timeout`: Cohere; `malformed_…` and `unexpected_tool_call`: Gemini.
 */
const FAILURE_REASONS =
  /^(error|failed|abort(ed)?|cancell?ed|user_cancel|time_?out|time_limit|(network|server|internal)_error|(function_call_filter: )?malformed_\w+|unexpected_tool_call)$/i;

/** If the finish reason is a failure: the failure in the form of an error event. */
function failureIn(reason: string | null | undefined): { code: number; message: string } | null {
  // DeepSeek's reason for "too busy to continue".
  if (reason?.toLowerCase() === "insufficient_system_resource") return { code: 503, message: reason };
  return reason && FAILURE_REASONS.test(reason) ? { code: 500, message: reason } : null;
}

/** Whether the piece has no part of the answer. A server that sends only such pieces makes no progress. */
export function isIdle({ text: content, calls, hasReasoning, finishReason, usage }: AnswerPiece): boolean {
  return content === "" && calls.length === 0 && !hasReasoning && finishReason === null && usage === null;
}

function callPiece(given: Partial<z.infer<typeof call>>): CallPiece {
  const callArguments = given.function?.arguments ?? "";
  return {
    index: given.index ?? null,
    // Some servers send an empty id or name with every piece.
    id: given.id || null,
    name: given.function?.name || null,
    arguments: typeof callArguments === "string" ? callArguments : JSON.stringify(callArguments),
  };
}
