import { parseJson } from "../../schema/wire/json-text.ts";
import { type PoolFrame, poolFrame } from "../../schema/wire/worker-frames.ts";

/** Parses a frame of the pool. Null if this agent does not know such a frame. */
export function parsePoolFrame(text: string): PoolFrame | null {
  return poolFrame.safeParse(parseJson(text)).data ?? null;
}
