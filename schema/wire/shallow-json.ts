import * as z from "zod";
import { LIMITS } from "./limits.ts";

/**
 * Any JSON value that other code may read recursively: at most `LIMITS.foreignJsonDepth` levels deep. A body of 1 MiB can be a
 * million levels deep, which would overflow the stack.
 */
export const shallowJson = z.unknown().refine(isShallow, `must have at most ${LIMITS.foreignJsonDepth} levels`);

/** Reads level by level, and not by recursion. */
function isShallow(value: unknown): boolean {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > LIMITS.foreignJsonDepth) return false;
    level = level.flatMap((each) => (typeof each === "object" && each !== null ? Object.values(each) : []));
  }
  return true;
}
