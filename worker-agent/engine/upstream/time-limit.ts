import { createContext, Script } from "node:vm";

const context = createContext({ work: () => {} });
const script = new Script("work()");

/**
 * Runs `work` and stops it after `ms`, even inside a regular expression. Returns null if it was stopped or if it threw.
 * It blocks the process while it runs.
 */
export function runWithTimeLimit<T>(ms: number, work: () => T): T | null {
  let result: T | null = null;
  context.work = () => {
    result = work();
  };
  try {
    script.runInContext(context, { timeout: ms });
    return result;
  } catch {
    return null;
  } finally {
    // The closure may hold a large amount of memory.
    context.work = () => {};
  }
}
