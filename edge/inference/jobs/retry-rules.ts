import { LIMITS } from "../../../schema/wire/limits.ts";

export interface Tries {
  readonly attempts: number;
  /** The first attempt whose worker disconnected while it held jobs of only one key; null if there is none. */
  readonly lostAloneAttempt: number | null;
}

/**
 * Whether another worker gets a job that its worker did not finish. If the worker held jobs of only one key when it
 * disconnected, those jobs may be the cause. Then one more worker gets the job, but not a third.
 */
export function mayTryAgain({ attempts, lostAloneAttempt }: Tries): boolean {
  return attempts < LIMITS.jobAttempts && (lostAloneAttempt === null || attempts === lostAloneAttempt);
}
