import { type PoolFrame, poolFrame } from "../../schema/wire/worker-frames.ts";

/** What a pool sent; null where it is no frame that this agent knows. */
export function parsePoolFrame(text: string): PoolFrame | null {
  try {
    return poolFrame.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
