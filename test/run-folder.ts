import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { CACHE_FOLDER } from "../scripts/runtime/cache-folder.ts";

/**
 * Around all tests of a run: a folder for temporary files, and one for what one test file makes and others need too.
 * Both are removed at the end; the run fails where the first one is not empty then.
 */
export default function setup({ vitest }: TestProject): void {
  const folder = mkdtempSync(join(tmpdir(), "ligand-run-"));
  const temporary = join(folder, "tmp");
  const shared = join(folder, "shared");
  for (const each of [temporary, shared]) mkdirSync(each);
  process.env.TMPDIR = temporary;
  process.env.E2E_RUN_FOLDER = shared;
  // npm keeps compiled code in the temporary folder, unless it is told of another place.
  process.env.NODE_COMPILE_CACHE = `${CACHE_FOLDER}code`;
  // After a teardown of this file Miniflare may still be at work; when Vitest has closed, it is not.
  vitest.onClose(() => {
    const left = readdirSync(temporary);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    if (left.length > 0) throw new Error(`The tests left temporary files behind: ${left.join(", ")}.`);
  });
}
