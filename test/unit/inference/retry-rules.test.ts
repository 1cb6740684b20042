import { expect, it } from "vitest";
import { mayTryAgain } from "../../../edge/inference/jobs/retry-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

it.each<[what: string, attempts: number, lostAlone: number | null, again: boolean]>([
  ["lost with others, it is tried again", 1, null, true],
  ["lost with others for the last time, it is not", LIMITS.jobAttempts, null, false],
  ["lost alone, it is tried once more", 1, 1, true],
  ["lost after that, alone or not, it is not", 2, 1, false],
  ["lost alone at the second try, it is tried once more", 2, 2, true],
  ["lost alone at the last, it is not", LIMITS.jobAttempts, LIMITS.jobAttempts, false],
])("%s", (_what, attempts, lostAlone, again) => expect(mayTryAgain({ attempts, lostAlone })).toBe(again));
