import * as z from "zod";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobFailure } from "./engine.ts";

/** What an upstream server answered instead of an answer. */
export interface Refusal {
  readonly status: number;
  /** At most a few kilobytes of it. */
  readonly body: string;
  readonly retryAfter: string | null;
}

export interface Failure {
  readonly code: JobFailure;
  /** Shown to the client, and in the worker's log. */
  readonly message: string;
  /** Behind it, for the client alone: no host, no key, no control characters. */
  readonly quoted: string | null;
  readonly retryable: boolean;
  /** What the worker's owner has to know, who alone can do something about it. */
  readonly forOwner: string | null;
  /** How long the server asks not to be asked. */
  readonly pauseMs: number;
  /** A field of our request that this server does not know, and that it can be asked without. */
  readonly unknownField: "max_tokens" | "stream_options" | null;
  /** What of the request is meant, as the client named it. */
  readonly param: string | null;
}

const MESSAGE_CHARS = 300;

const errorBody = z.object({
  error: z.union([
    z.string(),
    z.object({
      message: z.string().nullish(),
      code: z.union([z.string(), z.number()]).nullish(),
      type: z.string().nullish(),
      param: z.string().nullish(),
    }),
  ]),
});
/** FastAPI's own shape, and Ollama's or older servers' plain one. */
const otherBody = z.union([
  z.object({ detail: z.string() }).transform(({ detail }) => detail),
  z.object({ message: z.string() }).transform(({ message }) => message),
]);

interface Said {
  readonly message: string;
  readonly code: string;
  readonly param: string;
}

/**
 * Pure: what a refusal means for the job, for the pool and for the owner.
 *
 * @param secrets what no message may repeat: the key and the server's address
 */
export function failureOf({ status, body, retryAfter }: Refusal, secrets: readonly string[], nowMs: number): Failure {
  const said = readError(body);
  const words = cleaned(said.message, secrets);
  const quoted = words === "" ? "" : `: ${words}`;
  const pauseMs = retryAfterMs(retryAfter, nowMs);

  if (status === 429 || status === 503) {
    const what = status === 429 ? "limits its requests" : "is not available";
    const forOwner = `The upstream server ${what} now (${status}${quoted}).`;
    const message = `The upstream server ${what} now.`;
    return failure({ code: "inference/worker-busy", message, retryable: true, pauseMs, forOwner });
  }
  if (status === 401 || status === 402 || status === 403) {
    const remedy = status === 402 ? "Check the account behind the key." : "Set LIGAND_UPSTREAM_KEY to a key it takes.";
    const forOwner = `The upstream server refuses this worker (${status}${quoted}). ${remedy}`;
    return failure({ message: "The upstream server refuses this worker.", retryable: true, forOwner });
  }
  if (status === 404) {
    const forOwner = `The upstream server has no such model or route (404${quoted}). Check --upstream-url and --upstream-model.`;
    const message = "The upstream server does not have this model.";
    return failure({ code: "inference/model-not-found", message, retryable: true, forOwner });
  }
  if (status >= 300 && status < 400) {
    const forOwner = `The upstream server redirects elsewhere (${status}). Give --upstream-url the final address.`;
    return failure({ message: "The upstream server redirects elsewhere.", retryable: true, forOwner });
  }
  if (status === 408) return failure({ message: "The upstream server took too long.", retryable: true });
  if (isTooLong(said, status)) {
    const message = "The prompt does not fit the model's context.";
    return failure({ code: "inference/context-length-exceeded", message, quoted: words, retryable: false });
  }
  if (status >= 400 && status < 500) {
    const message = "The upstream server does not take this request.";
    const unknownField = fieldNotTaken(said);
    return failure({
      code: "http/unsupported-parameter",
      message,
      quoted: words,
      retryable: false,
      unknownField,
      param: paramOf(said),
    });
  }
  const forOwner = `The upstream server failed (${status}${quoted}).`;
  return failure({ message: "The upstream server failed.", retryable: true, forOwner, pauseMs });
}

/** Pure: an error that came as an event of a stream that had begun with 200. */
export function failureInStream(event: string, secrets: readonly string[], nowMs: number): Failure | null {
  const parsed = errorBody.safeParse(parseJson(event));
  if (!parsed.success) return null;
  const code = typeof parsed.data.error === "string" ? null : Number(parsed.data.error.code);
  const status = code !== null && Number.isInteger(code) && code >= 400 && code < 600 ? code : 500;
  return failureOf(
    { status: isTooLong(readError(event), 400) ? 400 : status, body: event, retryAfter: null },
    secrets,
    nowMs,
  );
}

/** Pure: a stranger's words as they may stand in a line of ours. */
export function cleaned(text: string, secrets: readonly string[]): string {
  let words = text.toWellFormed().replace(/[\p{Cc}\p{Cf}\s]+/gu, " ");
  for (const secret of secrets) if (secret !== "") words = words.replaceAll(secret, "…");
  const letters = [...words.trim()];
  return letters.length <= MESSAGE_CHARS ? letters.join("") : `${letters.slice(0, MESSAGE_CHARS - 1).join("")}…`;
}

function failure(about: Partial<Failure> & Pick<Failure, "message" | "retryable">): Failure {
  return {
    code: "inference/engine-failed",
    forOwner: null,
    quoted: null,
    pauseMs: 0,
    unknownField: null,
    param: null,
    ...about,
  };
}

function readError(body: string): Said {
  const json = parseJson(body);
  const error = errorBody.safeParse(json).data?.error;
  if (error === undefined) return { message: otherBody.safeParse(json).data ?? "", code: "", param: "" };
  if (typeof error === "string") return { message: error, code: "", param: "" };
  return {
    message: error.message ?? "",
    code: [error.code ?? "", error.type ?? ""].join(" "),
    param: error.param ?? "",
  };
}

/** OpenAI's code; llama-server's type; and the sentences of vLLM and others that give none. */
function isTooLong({ message, code }: Said, status: number): boolean {
  if (status !== 400 && status !== 413 && status !== 422) return false;
  if (/context_length_exceeded|exceed_context_size/.test(code)) return true;
  return /(maximum|exceed\w*|available|too (long|large) for)[^.]{0,60}context (length|size|window)|context (length|size|window)[^.]{0,40}exceed/i.test(
    message,
  );
}

function fieldNotTaken({ message, param }: Said): Failure["unknownField"] {
  if (param === "max_tokens" || /max_completion_tokens/.test(message)) return "max_tokens";
  return param.startsWith("stream_options") || /stream_options/.test(message) ? "stream_options" : null;
}

function paramOf({ param }: Said): string | null {
  return /^[\w.[\]]{1,64}$/.test(param) ? param : null;
}

/** RFC 9110 section 10.2.3: seconds, or a date. */
function retryAfterMs(given: string | null, nowMs: number): number {
  if (given === null) return 0;
  const ms = /^\d+$/.test(given.trim()) ? Number(given) * 1_000 : Date.parse(given) - nowMs;
  return Number.isFinite(ms) ? Math.min(LIMITS.workerPauseSeconds * 1_000, Math.max(0, ms)) : 0;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
