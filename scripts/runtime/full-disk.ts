import { statfsSync } from "node:fs";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";

/** Less than a start writes before it serves. */
const FULL_BELOW_BYTES = 1024 * 1024;

/**
 * What made a start fail, where the disk of its state was full: workerd and SQLite then say "internal error", or no more
 * than that a read or a write failed. To be asked before what was written is removed again.
 */
export function orFullDisk(error: unknown, stateDir: string): unknown {
  const freeBytes = freeBytesAt(stateDir);
  if (freeBytes === null || freeBytes >= FULL_BELOW_BYTES) return error;
  const free = `(${Math.floor(freeBytes / 1024)} KiB are free)`;
  // What names a cause of its own, such as a port in use, keeps it.
  if (error instanceof OperatorError && error.code === "cli/failed") {
    return new OperatorError(`${error.message} And there is no room left on the disk of ${stateDir} ${free}.`);
  }
  return new OperatorError(
    `${stateDir} cannot hold a pool: there is no room left on the disk ${free}. Make room, or give another --state DIR.`,
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
