import { readFileSync } from "node:fs";
import { isErrno } from "../../state/files.ts";
import { OperatorError } from "./operator-error.ts";
import { systemReason } from "./system-reason.ts";

/** The file's text, or undefined when there is no such file. Any other failure is an OperatorError that says why. */
export function readIfPresent(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw new OperatorError(`Cannot read ${file}: ${systemReason(error) ?? String(error)}.`);
  }
}
