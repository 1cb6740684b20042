import { expect, it } from "vitest";
import { mayTryAgain } from "../../../edge/inference/jobs/retry-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

it.each<[what: string, attempts: number, lostAloneAttempt: number | null, again: boolean]>([
  ["a job that was lost with others gets another attempt", 1, null, true],
  ["a job that was lost with others at its last attempt gets no more", LIMITS.jobAttempts, null, false],
  ["a job that was lost alone gets one more attempt", 1, 1, true],
  ["a job that was lost again after it was lost alone gets no more", 2, 1, false],
  ["a job that was lost alone at the second attempt gets one more", 2, 2, true],
  ["a job that was lost alone at its last attempt gets no more", LIMITS.jobAttempts, LIMITS.jobAttempts, false],
])("%s", (_what, attempts, lostAloneAttempt, again) => expect(mayTryAgain({ attempts, lostAloneAttempt })).toBe(again));
