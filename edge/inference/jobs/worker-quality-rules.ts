/**
 * The quality of one worker at one model (docs/spec/inference.md#quality): the share of its jobs that it completed, where older
 * jobs count less and less. A worker that never failed has the quality 1.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Persisted contract: jobs that the worker completed and attempted, decayed to `atMs` (epoch ms). */
export interface Quality {
  readonly completed: number;
  readonly attempted: number;
  readonly atMs: number;
}

export const UNKNOWN_QUALITY: Quality = Object.freeze({ completed: 0, attempted: 0, atMs: 0 });

/** The quality after one more job. */
export function afterJob(quality: Quality, isCompleted: boolean, nowMs: number): Quality {
  const share = remaining(quality, nowMs);
  return {
    completed: quality.completed * share + (isCompleted ? 1 : 0),
    attempted: quality.attempted * share + 1,
    atMs: nowMs,
  };
}

/** From 0 to 1. One success is assumed, so that the first failure does not count as nothing but failures. */
export function scoreOf(quality: Quality, nowMs: number): number {
  const share = remaining(quality, nowMs);
  return (quality.completed * share + 1) / (quality.attempted * share + 1);
}

/** Workers of the same step share the load; a worker of a higher step gets the job first. */
export function stepOf(score: number): number {
  return Math.floor(score * LIMITS.workerQualitySteps);
}

/** What is left of the old counts. A clock that stepped back forgets as much as one that went on. */
function remaining({ atMs }: Quality, nowMs: number): number {
  return 0.5 ** (Math.abs(nowMs - atMs) / LIMITS.workerQualityHalfLifeMs);
}
