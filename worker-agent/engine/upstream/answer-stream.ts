import { parseJson } from "../../../schema/wire/json-text.ts";
import { type AnswerPiece, isIdle, readAnswer } from "./answer-reader.ts";
import type { Reply } from "./server-client.ts";

/**
 * The limit of bytes without any part of the answer: pings, comments, results of filters. Without it, a server that sends
 * only these could occupy a slot for the whole time that a job may take.
 */
const MAX_IDLE_BYTES = 4 * 1024 * 1024;

export type StreamStep =
  | { readonly type: "piece"; readonly piece: AnswerPiece }
  | { readonly type: "error"; readonly error: unknown }
  | { readonly type: "unknown" }
  | { readonly type: "idle" }
  /** The server declared the end of the answer by `[DONE]` or by a complete answer, and did not just close. */
  | { readonly type: "done" };

/** Reads the steps of a streamed answer, or of the complete answer of a server that does not stream. */
export async function* readSteps(reply: Exclude<Reply, { type: "refused" }>): AsyncGenerator<StreamStep> {
  if (reply.type === "json") {
    const reading = readAnswer(reply.value);
    yield reading.type === "nothing" ? { type: "unknown" } : reading;
    if (reading.type === "piece") yield { type: "done" };
    return;
  }
  let idleBytes = 0;
  for await (const part of reply.events) {
    if (part.type === "read") {
      idleBytes += part.bytes;
      if (idleBytes > MAX_IDLE_BYTES) yield { type: "idle" };
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

function readEvent(name: string, data: string): ReturnType<typeof readAnswer> {
  const value = parseJson(data);
  // LiteLLM and Anthropic name the event `error`. Its data need not be JSON.
  if (name === "error" && readAnswer(value).type !== "error") return { type: "error", error: value ?? data };
  return value === undefined ? { type: "unknown" } : readAnswer(value);
}
