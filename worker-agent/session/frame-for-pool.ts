import type { AgentFrame, FinishReason, Usage } from "../../schema/wire/worker-frames.ts";

type Failed = Extract<AgentFrame, { type: "failed" }>;

/** Translates a frame for a pool of an older minor version, which would refuse a frame that it does not know. */
export function frameForPool(minor: number, frame: AgentFrame): AgentFrame {
  if (frame.type === "failed") return failedForPool(minor, frame);
  if (minor >= 2 || frame.type !== "done") return frame;
  const { stopSequence: _, ...known } = frame;
  return known;
}

function failedForPool(minor: number, frame: Failed): Failed {
  // v1 has no code for a busy worker.
  if (minor < 1 && frame.code === "inference/worker-busy") {
    const { retryAfterSeconds: _, ...known } = frame;
    return { ...known, code: "inference/engine-failed" };
  }
  if (minor >= 2) return frame;
  if (frame.code === "inference/upstream-refused" || frame.code === "inference/prompt-refused") {
    return { ...frame, code: "http/unsupported-parameter" };
  }
  return frame.code === "inference/upstream-disobeyed" ? { ...frame, code: "inference/engine-failed" } : frame;
}

/**
 * How an answer ended, in terms that a pool of this minor version accepts; the metering record has the same. Before v1.2,
 * a pool expects at least one byte of output for each token, and does not know `content_filter`.
 *
 * @param output the answer's bytes in UTF-8, and its number of tool calls: a pool does not accept `stop` after a call
 */
export function endForPool(
  minor: number,
  end: { readonly finishReason: FinishReason; readonly usage: Usage },
  output: { readonly bytes: number; readonly calls: number },
): { readonly finishReason: FinishReason; readonly usage: Usage } {
  if (minor >= 2) return end;
  const { promptTokens, completionTokens } = end.usage;
  const usage = { promptTokens, completionTokens: Math.min(completionTokens, output.bytes) };
  if (end.finishReason !== "content_filter") return { finishReason: end.finishReason, usage };
  return { finishReason: output.calls > 0 ? "length" : "stop", usage };
}
