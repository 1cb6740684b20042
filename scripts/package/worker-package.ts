import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import manifest from "../../worker-agent/package.json" with { type: "json" };
import { buildModules, checkDependencies, ROOT } from "./built-modules.ts";

/** The modules that the worker's package may contain. A worker's owner runs no pool, so it contains nothing of one. */
const ALLOWED = /^(worker-agent|schema\/(wire|crypto))\//;

const MODEL = "worker-agent/models/ligand-embedded.gguf";

/** Builds `worker-agent/dist`, which `npm pack` puts into `@ligand/worker`. */
export async function buildWorkerPackage(): Promise<void> {
  const outDir = join(ROOT, "worker-agent", "dist");
  rmSync(outDir, { recursive: true, force: true });
  const modules = await buildModules(["worker-agent/cli/ligand-worker.mjs", "worker-agent/agent.ts"], outDir);
  const foreign = modules.files.filter((file) => !ALLOWED.test(file));
  if (foreign.length > 0) throw new Error(`The worker imports modules of the pool: ${foreign.join(", ")}`);
  checkDependencies(modules, manifest);
  copyFileSync(join(ROOT, MODEL), join(outDir, MODEL));
  copyFileSync(join(ROOT, "LICENSE"), join(outDir, "LICENSE"));
  console.log(`${manifest.name}: ${modules.files.length} modules in worker-agent/dist`);
}
