import { createParser } from "eventsource-parser";
import { parseJson } from "../../../schema/wire/json-text.ts";
import { networkReason } from "../../network-error.ts";

/** An OpenAI-compatible server, as the worker's owner configured it. */
export interface UpstreamServer {
  /** With the path (usually `/v1`), without a slash at the end. */
  readonly base: string;
  readonly key: string | null;
  /** The worker gives up on a server that sends nothing for this time. */
  readonly silenceMs: number;
}

/** The limits of what is read. A token needs a few hundred bytes of a stream, most of them for the envelope. */
const LIMIT_BYTES = Object.freeze({
  refusal: 16 * 1024,
  json: 64 * 1024 * 1024,
  event: 1024 * 1024,
  stream: 512 * 1024 * 1024,
} as const);

export type Reply =
  | { readonly type: "refused"; readonly status: number; readonly body: string; readonly retryAfter: string | null }
  | { readonly type: "json"; readonly value: unknown }
  | { readonly type: "events"; readonly events: AsyncIterable<StreamPart> };

/** For each chunk, first the number of bytes that were read, then each event that they complete. */
export type StreamPart =
  | { readonly type: "read"; readonly bytes: number }
  | { readonly type: "event"; readonly name: string; readonly data: string };

/** Thrown if the server sent no answer, or no complete one. */
export class UpstreamUnreachable extends Error {
  /** True if the server sent nothing for too long. False if the connection was refused or cut. */
  readonly silent: boolean;

  constructor(message: string, silent: boolean) {
    super(message);
    this.silent = silent;
  }
}

/**
 * Sends a request to the server. Each read is limited in bytes and in time without data. Redirects are not followed,
 * because they would send the prompt and the key to another address. Throws `UpstreamUnreachable`; after an abort the
 * caller ignores what this function throws.
 */
export async function ask(
  server: UpstreamServer,
  path: string,
  body: object | null,
  signal: AbortSignal,
): Promise<Reply> {
  const watch = new SilenceWatch(server.silenceMs, signal);
  let streams = false;
  try {
    const response = await watch.over(
      fetch(`${server.base}${path}`, {
        method: body === null ? "GET" : "POST",
        headers: {
          accept: body === null ? "application/json" : "text/event-stream, application/json",
          ...(body === null ? {} : { "content-type": "application/json" }),
          ...(server.key === null ? {} : { authorization: `Bearer ${server.key}` }),
        },
        redirect: "manual",
        signal: watch.signal,
        ...(body === null ? {} : { body: JSON.stringify(body) }),
      }),
    );
    if (response.status !== 200) {
      const text = await textOf(response, LIMIT_BYTES.refusal, watch);
      return { type: "refused", status: response.status, body: text, retryAfter: response.headers.get("retry-after") };
    }
    if (/^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "")) {
      streams = true;
      return { type: "events", events: eventsOf(response, watch) };
    }
    return { type: "json", value: parseJson(await textOf(response, LIMIT_BYTES.json, watch)) };
  } finally {
    if (!streams) watch.end();
  }
}

/** Aborts a request when the server sends nothing for too long, and makes that the error. */
class SilenceWatch {
  readonly signal: AbortSignal;
  readonly #silent = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #ms: number;

  constructor(ms: number, signal: AbortSignal) {
    this.#ms = ms;
    this.#timer = setTimeout(() => this.#silent.abort(), ms);
    this.signal = AbortSignal.any([signal, this.#silent.signal]);
  }

  async over<T>(step: Promise<T>): Promise<T> {
    try {
      const done = await step;
      this.#timer.refresh();
      return done;
    } catch (error) {
      if (this.#silent.signal.aborted) {
        throw new UpstreamUnreachable(`The upstream server sent nothing for ${this.#ms / 1_000} s.`, true);
      }
      throw error instanceof UpstreamUnreachable
        ? error
        : new UpstreamUnreachable(`The upstream server cannot be reached: ${networkReason(error)}.`, false);
    }
  }

  /** Also closes the connection if it is still open. */
  end(): void {
    clearTimeout(this.#timer);
    this.#silent.abort();
  }
}

async function* chunksOf(
  response: Response,
  limitBytes: number,
  watch: SilenceWatch,
): AsyncGenerator<{ text: string; bytes: number }> {
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  let bytes = 0;
  for (;;) {
    const { done, value } = await watch.over(reader.read());
    if (done) break;
    bytes += value.byteLength;
    if (bytes > limitBytes) throw new UpstreamUnreachable("The upstream server's answer is too large.", false);
    yield { text: decoder.decode(value, { stream: true }), bytes: value.byteLength };
  }
  yield { text: decoder.decode(), bytes: 0 };
}

async function textOf(response: Response, limitBytes: number, watch: SilenceWatch): Promise<string> {
  let complete = "";
  for await (const { text } of chunksOf(response, limitBytes, watch)) complete += text;
  return complete;
}

/** Reads server-sent events. Closes the connection when the consumer leaves the loop. */
async function* eventsOf(response: Response, watch: SilenceWatch): AsyncGenerator<StreamPart> {
  try {
    const ready: StreamPart[] = [];
    let tooLarge = false;
    const parser = createParser({
      maxBufferSize: LIMIT_BYTES.event,
      onEvent: ({ data, event = "" }) => ready.push({ type: "event", name: event, data }),
      onError: ({ type }) => {
        tooLarge ||= type === "max-buffer-size-exceeded";
      },
    });
    for await (const { text, bytes } of chunksOf(response, LIMIT_BYTES.stream, watch)) {
      parser.feed(text);
      yield { type: "read", bytes };
      yield* ready.splice(0);
      if (tooLarge) throw new UpstreamUnreachable("The upstream server sent too large an event.", false);
    }
    // Some servers omit the blank line after the last event.
    parser.feed("\n\n");
    yield* ready;
  } finally {
    watch.end();
  }
}
