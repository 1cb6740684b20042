import { randomBytes } from "node:crypto";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { makeFolder } from "../../worker-agent/state/make-folder.ts";
import { type FoundFolder, openStateFolder } from "../../worker-agent/state/state-folder.ts";

/** Opens a state folder. A new one gets mode 0700. `marks` are the files that identify such a folder. */
export async function openPrivateFolder(folder: string, marks: readonly string[]): Promise<FoundFolder> {
  const opened = await openStateFolder(folder, marks);
  if (!opened.ok) throw new OperatorError(opened.message);
  return opened.found;
}

/** Writes a file of mode 0600. Readers see the old content or the new content, never a part. */
export function writePrivateFile(file: string, text: string): void {
  makeFolder(dirname(file), 0o700);
  const temporary = `${file}.${randomBytes(6).toString("hex")}.new`;
  try {
    writeFileSync(temporary, text, { mode: 0o600, flag: "wx", flush: true });
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
