import { isIdle, type Piece, readingOf } from "./answer-reader.ts";
import type { Reply } from "./server-client.ts";

/**
 * What may come without a word of the answer: pings, comments, results of filters. A server that sends only those would
 * keep a slot busy as long as the job may take, and this machine with it.
 */
const IDLE_BYTES = 4 * 1024 * 1024;

export type StreamStep =
  | { readonly type: "piece"; readonly piece: Piece }
  | { readonly type: "error"; readonly error: unknown }
  | { readonly type: "unknown" }
  | { readonly type: "idle" }
  /** The server said that the answer is over (`[DONE]`, or a whole answer); without it only the connection is. */
  | { readonly type: "done" };

/** A server that does not stream answers in one piece; both end here. */
export async function* stepsOf(reply: Exclude<Reply, { type: "refused" }>): AsyncGenerator<StreamStep> {
  if (reply.type === "json") {
    const reading = readingOf(reply.value);
    yield reading.type === "nothing" ? { type: "unknown" } : reading;
    if (reading.type === "piece") yield { type: "done" };
    return;
  }
  let idleBytes = 0;
  for await (const part of reply.events) {
    if (part.type === "read") {
      idleBytes += part.bytes;
      if (idleBytes > IDLE_BYTES) yield { type: "idle" };
      continue;
    }
    const data = part.data.trim();
    if (data === "") continue;
    if (data === "[DONE]") {
      yield { type: "done" };
      return;
    }
    const reading = readEvent(part.name, data);
    if (reading.type === "nothing") continue;
    if (reading.type !== "piece" || !isIdle(reading.piece)) idleBytes = 0;
    yield reading;
  }
}

function readEvent(name: string, data: string): ReturnType<typeof readingOf> {
  const value = parsed(data);
  // LiteLLM and Anthropic name the event; what stands in it need not be JSON.
  if (name === "error" && readingOf(value).type !== "error") return { type: "error", error: value ?? data };
  return value === undefined ? { type: "unknown" } : readingOf(value);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
