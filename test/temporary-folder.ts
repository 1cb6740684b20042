import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const made: string[] = [];

/** Makes a folder for one test. It is removed when the test file has ended (`nothing-left.ts`). */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "ligand-test-"));
  made.push(folder);
  return folder;
}

/** The folders that this test file has made so far. */
export const temporaryFolders = (): readonly string[] => made;

export function removeTemporaryFolders(): void {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
