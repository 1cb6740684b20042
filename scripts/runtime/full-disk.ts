import { statfsSync } from "node:fs";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";

/** A start writes at least this much before it serves. */
const FULL_BELOW_BYTES = 1024 * 1024;

/**
 * Replaces the error of a failed start if the disk is full, because workerd and SQLite then report only "internal error" or
 * a failed read or write. Call this before the written files are removed.
 */
export function orFullDisk(error: unknown, stateDir: string): unknown {
  const freeBytes = freeBytesAt(stateDir);
  if (freeBytes === null || freeBytes >= FULL_BELOW_BYTES) return error;
  const free = `(${Math.floor(freeBytes / 1024)} KiB are free)`;
  // An error with its own cause, such as a port in use, keeps its message.
  if (error instanceof OperatorError && error.code === "cli/failed") {
    return new OperatorError(`${error.message} There is also no space left on the disk of ${stateDir} ${free}.`);
  }
  return new OperatorError(
    `Cannot start a pool in ${stateDir}: no space left on the disk ${free}. Free some space, or give another --state DIR.`,
  );
}

function freeBytesAt(folder: string): number | null {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return null;
  }
}
