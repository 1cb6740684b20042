import type { AgentFrame, FinishReason, Usage } from "../../schema/wire/worker-frames.ts";

type Failed = Extract<AgentFrame, { type: "failed" }>;

/** What a pool of an older minor version is sent in the place of a frame that it does not know. Pure. */
export function frameForPool(minor: number, frame: AgentFrame): AgentFrame {
  if (frame.type === "failed") return failedForPool(minor, frame);
  if (minor >= 2 || frame.type !== "done") return frame;
  const { stopSequence: _, ...known } = frame;
  return known;
}

function failedForPool(minor: number, frame: Failed): Failed {
  // v1 has no word for a worker that is too busy.
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
 * How an answer ended, as a pool of this minor version can read it; the metering record repeats it. Before v1.2 every
 * token is at least one byte that was said, and a filter is no reason to end. Pure.
 *
 * @param said in UTF-8, and how many calls it holds: a pool takes no `stop` after a call
 */
export function endForPool(
  minor: number,
  end: { readonly finishReason: FinishReason; readonly usage: Usage },
  said: { readonly bytes: number; readonly calls: number },
): { readonly finishReason: FinishReason; readonly usage: Usage } {
  if (minor >= 2) return end;
  const { promptTokens, completionTokens } = end.usage;
  const usage = { promptTokens, completionTokens: Math.min(completionTokens, said.bytes) };
  if (end.finishReason !== "content_filter") return { finishReason: end.finishReason, usage };
  return { finishReason: said.calls > 0 ? "length" : "stop", usage };
}
