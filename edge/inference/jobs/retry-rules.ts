import { LIMITS } from "../../../schema/wire/limits.ts";

/** What the lane remembers of a job's earlier tries. */
export interface Tries {
  readonly attempts: number;
  /** The attempt whose worker vanished while it held no other key's job; null where none did. */
  readonly lostAlone: number | null;
}

/**
 * Whether a job that was given back is tried again. A worker that vanished while it held jobs of one key only may have
 * vanished because of them: then one more worker is risked, and not a third. Pure.
 */
export function mayTryAgain({ attempts, lostAlone }: Tries): boolean {
  return attempts < LIMITS.jobAttempts && (lostAlone === null || attempts === lostAlone);
}
