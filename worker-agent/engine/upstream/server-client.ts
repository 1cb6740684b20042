import { createParser } from "eventsource-parser";
import { networkReason } from "../../network-error.ts";

/** An OpenAI-compatible server, as its worker's owner described it. */
export interface UpstreamServer {
  /** Without a slash at the end, `/v1` included. */
  readonly base: string;
  readonly key: string | null;
  /** A server that says nothing for this long is given up. */
  readonly silenceMs: number;
}

/** What is read of an answer at most; a token takes a few hundred bytes of stream, most of them the envelope. */
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

/** What a stream brought: first how much was read, then each event that is complete with it. */
export type StreamPart =
  | { readonly type: "read"; readonly bytes: number }
  | { readonly type: "event"; readonly name: string; readonly data: string };

/** Why no answer came, or not a whole one. */
export class UpstreamUnreachable extends Error {
  /** True when it had been waited for in vain; false when the connection was refused or cut. */
  readonly silent: boolean;

  constructor(message: string, silent: boolean) {
    super(message);
    this.silent = silent;
  }
}

/**
 * Asks the server. Every read is bounded in bytes and in silence; redirects are not followed, for they would take the
 * prompt and the key elsewhere. Throws `UpstreamUnreachable`; after an abort whatever it throws means nothing.
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
    return { type: "json", value: parsed(await textOf(response, LIMIT_BYTES.json, watch)) };
  } finally {
    if (!streams) watch.end();
  }
}

/** Aborts what it watches when that stays silent too long, and says so. */
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
        throw new UpstreamUnreachable(`The upstream server said nothing for ${this.#ms / 1_000} s.`, true);
      }
      throw error instanceof UpstreamUnreachable
        ? error
        : new UpstreamUnreachable(`The upstream server cannot be reached: ${networkReason(error)}.`, false);
    }
  }

  /** Ends the connection too, if something of it is left. */
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
  let whole = "";
  for await (const { text } of chunksOf(response, limitBytes, watch)) whole += text;
  return whole;
}

/** The server-sent events. Ends the connection when it is left. */
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
    // Some servers end without the blank line that completes an event.
    parser.feed("\n\n");
    yield* ready;
  } finally {
    watch.end();
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
