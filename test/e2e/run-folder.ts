import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Before all end-to-end tests: a folder for what one file makes and the others need too; gone after the last. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), "ligand-e2e-run-"));
  process.env.E2E_RUN_FOLDER = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
