import { LIMITS } from "../../../schema/wire/limits.ts";

export interface Tries {
  readonly attempts: number;
  /** The first attempt whose worker vanished while it held jobs of one key only; null where there is none. */
  readonly lostAloneAttempt: number | null;
}

/**
 * Whether another worker gets a job that its worker did not finish. A worker that vanished while it held jobs of one key
 * only may have vanished because of them. One more worker is risked then, and not a third.
 */
export function mayTryAgain({ attempts, lostAloneAttempt }: Tries): boolean {
  return attempts < LIMITS.jobAttempts && (lostAloneAttempt === null || attempts === lostAloneAttempt);
}
