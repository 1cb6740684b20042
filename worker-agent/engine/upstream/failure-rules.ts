import * as z from "zod";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { JobFailure } from "../engine.ts";

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

const words = z.string().nullish().catch(null);
const errorBody = z.object({
  error: z.union([
    z.string(),
    z.object({
      message: words,
      code: z.union([z.string(), z.number()]).nullish().catch(null),
      type: words,
      // Gemini's: "UNAVAILABLE", "RESOURCE_EXHAUSTED".
      status: z.union([z.string(), z.number()]).nullish().catch(null),
      param: words,
    }),
  ]),
});
/** FastAPI's own shapes, and Ollama's or older servers' plain one. */
const otherBody = z.union([
  z.object({ detail: z.string() }).transform(({ detail }) => detail),
  z
    .object({ detail: z.array(z.object({ msg: z.string() })) })
    .transform(({ detail }) => detail.map(({ msg }) => msg).join("; ")),
  z.object({ message: z.string() }).transform(({ message }) => message),
]);

interface Said {
  readonly message: string;
  readonly code: string;
  readonly param: string;
}

export const NOT_UNDERSTOOD: Failure = failure({
  message: "The upstream server's answer was not understood.",
  retryable: true,
  forOwner: "The upstream server's answer was not understood. Is it an OpenAI-compatible server?",
});

/** What the server's model did against the request: it would do so again, and its server is none the worse for it. */
export const misused = (message: string): Failure => failure({ message, retryable: false });

/** What the request asks for and the server did not keep to. A worker over another server may. */
export const disobeyed = (message: string): Failure =>
  failure({ code: "inference/upstream-disobeyed", message, retryable: true, forOwner: message });

export function tooLongVectors(dimensions: number): Failure {
  const message = `The upstream server's embeddings have ${dimensions} dimensions, and ${LIMITS.embeddingDimensions} are the most.`;
  const forOwner = `${message} Do not offer them: --upstream-kinds chat,completion.`;
  return failure({ message, retryable: false, forOwner });
}

const TOO_LARGE = [413, 414, 431];
/** 529 is Anthropic's and some gateways' "overloaded". */
const BUSY = [429, 503, 529];

/**
 * Pure: what a refusal means for the job, for the pool and for the owner.
 *
 * @param secrets what no message may repeat: the key and the server's address
 */
export function failureOf({ status, body, retryAfter }: Refusal, secrets: readonly string[], nowMs: number): Failure {
  return failureFrom(status, readError(parseJson(body)), { secrets, pauseMs: retryAfterMs(retryAfter, nowMs) });
}

/** Pure: an error inside a stream that had begun with 200. Its status is what the error says of itself. */
export function failureInStream(error: unknown, secrets: readonly string[]): Failure {
  const said = readError({ error });
  const status = isTooLong(said, 400) ? 400 : (statusOf(said.code) ?? 500);
  return failureFrom(status, said, { secrets, pauseMs: 0 });
}

function failureFrom(
  status: number,
  said: Said,
  { secrets, pauseMs }: { readonly secrets: readonly string[]; readonly pauseMs: number },
): Failure {
  const words = quotable(said.message, secrets);
  const quoted = words === "" ? "" : `: ${words}`;

  if (BUSY.includes(status)) {
    const what = status === 429 ? "limits its requests" : "is not available";
    const forOwner = `The upstream server ${what} now (${status}${quoted}).`;
    const message = `The upstream server ${what} now.`;
    return failure({ code: "inference/worker-busy", message, retryable: true, pauseMs, forOwner });
  }
  if (status === 401 || status === 402 || status === 403) {
    const remedy = status === 402 ? "Check the account behind the key." : "Set LIGAND_UPSTREAM_KEY to a key it takes.";
    const forOwner = `The upstream server refuses this worker (${status}${quoted}). ${remedy}`;
    return failure({ message: `The upstream server refuses this worker (${status}).`, retryable: true, forOwner });
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
  if (TOO_LARGE.includes(status)) {
    const message = `The upstream server answered ${status}: the request is larger than it takes.`;
    const forOwner = `${message} If a proxy stands before it, raise what that takes, such as nginx's client_max_body_size.`;
    return failure({ code: "inference/context-length-exceeded", message, retryable: true, forOwner });
  }
  if (status === 400 || status === 422) {
    const param = paramOf(said);
    return failure({
      code: param === null ? "inference/upstream-refused" : "http/unsupported-parameter",
      message: "The upstream server does not take this request.",
      quoted: words,
      retryable: false,
      unknownField: fieldNotTaken(said),
      param,
    });
  }
  const message = `The upstream server failed (${status}).`;
  return failure({ message, retryable: true, forOwner: `The upstream server failed (${status}${quoted}).`, pauseMs });
}

/** Pure: of an error in a stream: OpenRouter and vLLM give the status as its code, others name its kind. */
function statusOf(code: string): number | null {
  const status = code
    .split(" ")
    .map(Number)
    .find((it) => Number.isInteger(it) && it >= 400 && it < 600);
  if (status !== undefined) return status;
  if (/rate_?limit|too_many_requests|quota|resource_exhausted/i.test(code)) return 429;
  if (/overloaded|unavailable|capacity/i.test(code)) return 503;
  return /invalid_request|bad_?request/i.test(code) ? 400 : null;
}

/** Pure: what a server says of a request, for people. A page of HTML is none of it, nor is an address. */
function quotable(message: string, secrets: readonly string[]): string {
  if (/<\/?[a-z!][^>]*>/i.test(message)) return "";
  return cleaned(message.replace(/\b(https?:\/\/|bearer\s+)\S+/gi, "…"), secrets);
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

function readError(json: unknown): Said {
  const error = errorBody.safeParse(json).data?.error;
  if (error === undefined) return { message: otherBody.safeParse(json).data ?? "", code: "", param: "" };
  if (typeof error === "string") return { message: error, code: "", param: "" };
  return {
    message: error.message ?? "",
    code: [error.code ?? "", error.type ?? "", error.status ?? ""].join(" "),
    param: error.param ?? "",
  };
}

/** OpenAI's code; llama-server's type; and the sentences of vLLM and others that give none. */
function isTooLong({ message, code }: Said, status: number): boolean {
  if (![400, 413, 422].includes(status)) return false;
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
