import type { AgentFrame } from "../../schema/wire/worker-frames.ts";

/** What a pool of an older minor version is sent in the place of a frame that it does not know. Pure. */
export function frameForPool(minor: number, frame: AgentFrame): AgentFrame {
  if (minor >= 1 || frame.type !== "failed" || frame.code !== "inference/worker-busy") return frame;
  // v1 has no word for a worker that is too busy.
  const { retryAfterSeconds: _, ...known } = frame;
  return { ...known, code: "inference/engine-failed" };
}
