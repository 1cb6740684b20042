import { setTimeout as sleep } from "node:timers/promises";
import type * as z from "zod";
import { type Audience, sequencedEvent } from "../../schema/wire/events.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { unexpectedStatus } from "./admin-client.ts";
import { noAnswer } from "./pool-unreachable.ts";

export type SequencedEvent = z.infer<typeof sequencedEvent>;

const RETRY_MS = 1_000;
/** The pool sends something every 15 s. After this much silence the connection is dead. */
const SILENCE_MS = 45_000;

export interface Follow {
  audience: Audience;
  since: number;
  /** Called each time the connection is lost. */
  lost(): void;
  /** Abort it to end the stream. */
  signal?: AbortSignal;
}

/**
 * Yields a pool's events after `since` until the signal is aborted. After a lost connection it continues without gaps or
 * repeats. Throws if the pool never answered, or if it refuses.
 */
export async function* followEvents(url: string, adminToken: string, follow: Follow): AsyncGenerator<SequencedEvent> {
  let { since } = follow;
  const isAborted = () => follow.signal?.aborted === true;
  for (let answered = false; !isAborted(); ) {
    try {
      for await (const event of oneConnection(url, adminToken, { ...follow, since })) {
        answered = true;
        if (event === null) continue;
        since = event.seq;
        yield event;
      }
    } catch (error) {
      if (isAborted()) return;
      if (error instanceof OperatorError) throw error;
      if (!answered) throw noAnswer(url, error);
      follow.lost();
    }
    await sleep(RETRY_MS, undefined, follow).catch(() => undefined);
  }
}

/** The events of one connection, until the pool ends it. Null means that the pool answered, without an event. */
async function* oneConnection(
  url: string,
  adminToken: string,
  { audience, since, signal }: Follow,
): AsyncGenerator<SequencedEvent | null> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const response = await fetch(`${url}/admin/api/events/stream?audience=${audience}&since=${since}`, {
      headers: { authorization: `Bearer ${adminToken}` },
      redirect: "error",
      signal: signal ? AbortSignal.any([silence.signal, signal]) : silence.signal,
    });
    if (response.status >= 500) throw new Error("the pool is not ready");
    if (!response.ok || !response.body) throw new OperatorError(unexpectedStatus(url, response.status));
    yield null;
    let text = "";
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const lines = (text + piece).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        if (line.startsWith("data: ")) yield sequencedEvent.parse(JSON.parse(line.slice("data: ".length)));
      }
    }
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}
