import { parseJson } from "../../schema/wire/json-text.ts";
import { type PoolFrame, poolFrame } from "../../schema/wire/worker-frames.ts";

/** A frame of the pool; null where this agent does not know the frame. */
export function parsePoolFrame(text: string): PoolFrame | null {
  return poolFrame.safeParse(parseJson(text)).data ?? null;
}
