import { randomBytes } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { isErrno } from "../../worker-agent/state/files.ts";
import { makeFolder } from "../../worker-agent/state/make-folder.ts";
import { type FoundFolder, openStateFolder } from "../../worker-agent/state/state-folder.ts";
import { systemReason } from "./failure-words.ts";
import { OperatorError } from "./operator-error.ts";

/** Opens a state folder, its owner's alone when it is made here; `marks` are files by which this state is known. */
export async function openPrivateFolder(folder: string, marks: readonly string[]): Promise<FoundFolder> {
  const opened = await openStateFolder(folder, marks);
  if (!opened.ok) throw new OperatorError(opened.message);
  return opened.found;
}

/** Writes a file of mode 0600 that readers see whole or not at all. */
export function writePrivateFile(file: string, text: string): void {
  makeFolder(dirname(file), 0o700);
  const fresh = `${file}.${randomBytes(6).toString("hex")}.new`;
  try {
    writeFileSync(fresh, text, { mode: 0o600, flag: "wx", flush: true });
    renameSync(fresh, file);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
}

/** The file's text, or undefined when there is no such file. What else keeps it from being read is said in words. */
export function readIfPresent(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw new OperatorError(`${file} cannot be read: ${systemReason(error) ?? String(error)}.`);
  }
}
