import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { removeTemporaryFolders } from "./temporary-folder.ts";

/**
 * Around each test file: a folder for the temporary files of all that the test file starts. A test file that leaves
 * something in it fails. The environment is restored for the next file of the same process.
 */
const before = { ...process.env };
const folder = mkdtempSync(join(tmpdir(), "ligand-file-"));
process.env.TMPDIR = folder;

// Vitest runs hooks in reverse order, so the hooks of the test file have ended its processes before this one.
afterAll(() => {
  removeTemporaryFolders();
  const left = readdirSync(folder);
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
  Object.assign(process.env, before);
  if (left.length > 0) {
    throw new Error(
      `This test file left temporary files behind: ${left.join(", ")}. Make folders with temporaryFolder(), and end every process.`,
    );
  }
});
