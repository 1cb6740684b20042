import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { CACHE_FOLDER } from "../scripts/runtime/cache-folder.ts";

/**
 * Around all tests of a run: a folder for temporary files, and a folder for files that one test file makes and others
 * use. Both are removed at the end. The run fails if the first one is not empty then.
 */
export default function setup({ vitest }: TestProject): void {
  const folder = mkdtempSync(join(tmpdir(), "ligand-run-"));
  const temporary = join(folder, "tmp");
  const shared = join(folder, "shared");
  for (const each of [temporary, shared]) mkdirSync(each);
  process.env.TMPDIR = temporary;
  process.env.E2E_RUN_FOLDER = shared;
  // npm keeps compiled code in the temporary folder by default.
  process.env.NODE_COMPILE_CACHE = `${CACHE_FOLDER}code`;
  // When this teardown runs, Miniflare may still be working; when Vitest has closed, it is not.
  vitest.onClose(() => {
    const left = readdirSync(temporary);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    if (left.length > 0) throw new Error(`The tests left temporary files behind: ${left.join(", ")}.`);
  });
}
