import * as z from "zod";
import { parseJson } from "../../../schema/wire/json-text.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { JobFailure } from "../engine.ts";

/** An HTTP response with an error status. */
export interface Refusal {
  readonly status: number;
  /** The first few kilobytes. */
  readonly body: string;
  readonly retryAfter: string | null;
}

export interface Failure {
  readonly code: JobFailure;
  /** For the client and for the worker's log. */
  readonly message: string;
  /** The server's own text, for the client only. It contains no host, no key and no control characters. */
  readonly quoted: string | null;
  readonly retryable: boolean;
  /** A message for the worker's owner, if only the owner can solve the problem. */
  readonly ownerMessage: string | null;
  /** How long the server asks the worker to wait. */
  readonly pauseMs: number;
  /** A request field that this server refuses and that the request can do without. */
  readonly unsupportedField: "max_tokens" | "stream_options" | null;
  /** The request field that the server names, by the name that the client uses. */
  readonly param: string | null;
}

const MAX_MESSAGE_CHARS = 300;

const optionalText = z.string().nullish().catch(null);
const errorBody = z.object({
  error: z.union([
    z.string(),
    z.object({
      message: optionalText,
      code: z.union([z.string(), z.number()]).nullish().catch(null),
      type: optionalText,
      // Gemini sends "UNAVAILABLE", "RESOURCE_EXHAUSTED" and others here.
      status: z.union([z.string(), z.number()]).nullish().catch(null),
      param: optionalText,
    }),
  ]),
});
/** The error bodies of FastAPI, and the simpler form of Ollama and of older servers. */
const otherBody = z.union([
  z.object({ detail: z.string() }).transform(({ detail }) => detail),
  z
    .object({ detail: z.array(z.object({ msg: z.string() })) })
    .transform(({ detail }) => detail.map(({ msg }) => msg).join("; ")),
  z.object({ message: z.string() }).transform(({ message }) => message),
]);

interface ServerError {
  readonly message: string;
  readonly code: string;
  readonly param: string;
}

export const NOT_UNDERSTOOD: Failure = failure({
  message: "The upstream server's answer could not be read.",
  retryable: true,
  ownerMessage:
    "The upstream server's answer could not be read. Check that --upstream-url leads to an OpenAI-compatible server.",
});

/** The model violated the request. Another attempt would fail too, and the server itself works. */
export const modelMisuse = (message: string): Failure => failure({ message, retryable: false });

/** The server ignored a part of the request. A worker with another server may honour it. */
export const disobeyed = (message: string): Failure =>
  failure({ code: "inference/upstream-disobeyed", message, retryable: true, ownerMessage: message });

/** The failure of an embedding job whose vectors exceed the protocol's limit of dimensions. */
export function vectorsTooLong(dimensions: number): Failure {
  const message = `The upstream server's embeddings have ${dimensions} dimensions; the limit is ${LIMITS.embeddingDimensions}.`;
  const ownerMessage = `${message} Do not offer them: --upstream-kinds chat,completion.`;
  return failure({ message, retryable: false, ownerMessage });
}

const TOO_LARGE = [413, 414, 431];
/** Anthropic and some gateways use 529 for "overloaded". */
const BUSY = [429, 503, 529];

/**
 * What an error response means for the job, for the pool and for the worker's owner.
 *
 * @param secrets texts that no message may repeat: the key and the server's address
 */
export function failureOf({ status, body, retryAfter }: Refusal, secrets: readonly string[], nowMs: number): Failure {
  return failureFrom(status, readError(parseJson(body)), { secrets, pauseMs: retryAfterMs(retryAfter, nowMs) });
}

/** An error inside a stream that began with status 200. The error's own fields decide which status it counts as. */
export function failureInStream(error: unknown, secrets: readonly string[]): Failure {
  const serverError = readError({ error });
  const status = isTooLong(serverError, 400) ? 400 : (statusOf(serverError.code) ?? 500);
  return failureFrom(status, serverError, { secrets, pauseMs: 0 });
}

function failureFrom(
  status: number,
  serverError: ServerError,
  { secrets, pauseMs }: { readonly secrets: readonly string[]; readonly pauseMs: number },
): Failure {
  const quoted = quotableText(serverError.message, secrets);
  const suffix = quoted === "" ? "" : `: ${quoted}`;

  if (BUSY.includes(status)) {
    const problem = status === 429 ? "limits its requests" : "is not available";
    const ownerMessage = `The upstream server ${problem} now (${status}${suffix}).`;
    const message = `The upstream server ${problem} now.`;
    return failure({ code: "inference/worker-busy", message, retryable: true, pauseMs, ownerMessage });
  }
  if (status === 401 || status === 402 || status === 403) {
    const remedy = status === 402 ? "Check the account behind the key." : "Set LIGAND_UPSTREAM_KEY to a valid key.";
    const ownerMessage = `The upstream server refuses this worker (${status}${suffix}). ${remedy}`;
    return failure({ message: `The upstream server refuses this worker (${status}).`, retryable: true, ownerMessage });
  }
  if (status === 404) {
    const ownerMessage = `The upstream server has no such model or route (404${suffix}). Check --upstream-url and --upstream-model.`;
    const message = "The upstream server does not have this model.";
    return failure({ code: "inference/model-not-found", message, retryable: true, ownerMessage });
  }
  if (status >= 300 && status < 400) {
    const ownerMessage = `The upstream server redirects to another address (${status}). Give --upstream-url the final address.`;
    return failure({ message: "The upstream server redirects to another address.", retryable: true, ownerMessage });
  }
  if (status === 408) return failure({ message: "The upstream server took too long.", retryable: true });
  if (isTooLong(serverError, status)) {
    const message = "The prompt does not fit the model's context.";
    return failure({ code: "inference/context-length-exceeded", message, quoted, retryable: false });
  }
  if (TOO_LARGE.includes(status)) {
    const message = `The upstream server answered ${status}: the request is too large for it.`;
    const ownerMessage = `${message} If there is a proxy in front of it, raise the proxy's limit, such as nginx's client_max_body_size.`;
    return failure({ code: "inference/context-length-exceeded", message, retryable: true, ownerMessage });
  }
  if (status === 400 || status === 422) {
    const param = paramOf(serverError);
    return failure({
      code: param === null ? "inference/upstream-refused" : "http/unsupported-parameter",
      message: "The upstream server does not accept this request.",
      quoted,
      retryable: false,
      unsupportedField: unsupportedField(serverError),
      param,
    });
  }
  const message = `The upstream server failed (${status}).`;
  return failure({
    message,
    retryable: true,
    ownerMessage: `The upstream server failed (${status}${suffix}).`,
    pauseMs,
  });
}

/** The status of an error in a stream. OpenRouter and vLLM send it as the code; other servers name the kind of error. */
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

/** The server's message, if it can be shown to a client. HTML is dropped; addresses and bearer tokens are removed. */
function quotableText(message: string, secrets: readonly string[]): string {
  if (/<\/?[a-z!][^>]*>/i.test(message)) return "";
  return sanitizedText(message.replace(/\b(https?:\/\/|bearer\s+)\S+/gi, "…"), secrets);
}

/** Makes text of another server safe for one line: no control characters, no secrets, limited length. */
export function sanitizedText(text: string, secrets: readonly string[]): string {
  let line = text.toWellFormed().replace(/[\p{Cc}\p{Cf}\s]+/gu, " ");
  for (const secret of secrets) if (secret !== "") line = line.replaceAll(secret, "…");
  const characters = [...line.trim()];
  return characters.length <= MAX_MESSAGE_CHARS
    ? characters.join("")
    : `${characters.slice(0, MAX_MESSAGE_CHARS - 1).join("")}…`;
}

function failure(details: Partial<Failure> & Pick<Failure, "message" | "retryable">): Failure {
  return {
    code: "inference/engine-failed",
    ownerMessage: null,
    quoted: null,
    pauseMs: 0,
    unsupportedField: null,
    param: null,
    ...details,
  };
}

function readError(json: unknown): ServerError {
  const error = errorBody.safeParse(json).data?.error;
  if (error === undefined) return { message: otherBody.safeParse(json).data ?? "", code: "", param: "" };
  if (typeof error === "string") return { message: error, code: "", param: "" };
  return {
    message: error.message ?? "",
    code: [error.code ?? "", error.type ?? "", error.status ?? ""].join(" "),
    param: error.param ?? "",
  };
}

/** Recognises OpenAI's code, llama-server's type, and the messages of vLLM and others, which send neither. */
function isTooLong({ message, code }: ServerError, status: number): boolean {
  if (![400, 413, 422].includes(status)) return false;
  if (/context_length_exceeded|exceed_context_size/.test(code)) return true;
  return /(maximum|exceed\w*|available|too (long|large) for)[^.]{0,60}context (length|size|window)|context (length|size|window)[^.]{0,40}exceed/i.test(
    message,
  );
}

function unsupportedField({ message, param }: ServerError): Failure["unsupportedField"] {
  if (param === "max_tokens" || /max_completion_tokens/.test(message)) return "max_tokens";
  return param.startsWith("stream_options") || /stream_options/.test(message) ? "stream_options" : null;
}

function paramOf({ param }: ServerError): string | null {
  return /^[\w.[\]]{1,64}$/.test(param) ? param : null;
}

/** Reads `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date. */
function retryAfterMs(header: string | null, nowMs: number): number {
  if (header === null) return 0;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1_000 : Date.parse(header) - nowMs;
  return Number.isFinite(ms) ? Math.min(LIMITS.workerPauseSeconds * 1_000, Math.max(0, ms)) : 0;
}
