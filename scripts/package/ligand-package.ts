import { copyFileSync, cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../../package.json" with { type: "json" };
import { poolFromSources } from "../runtime/pool-sources.ts";
import { buildModules, checkDependencies, ROOT } from "./built-modules.ts";

/** Files other than modules, at the same paths as in the repository. */
const ASSETS = ["scripts/runtime/recorded-workerd.sh", "worker-agent/models/ligand-embedded.gguf"] as const;
const MIGRATIONS = "schema/db/migrations";

/** In a clone these modules make the Worker from its sources. A package contains the Worker ready-made. */
const ONLY_IN_A_CLONE = ["scripts/runtime/pool-sources.ts"] as const;

/** Builds `dist`, which `npm pack` puts into `ligand`. */
export async function buildLigandPackage(): Promise<void> {
  const outDir = join(ROOT, "dist");
  rmSync(outDir, { recursive: true, force: true });
  const modules = await buildModules(["scripts/ligand.mjs"], outDir, ONLY_IN_A_CLONE);
  checkDependencies(modules, manifest);
  for (const asset of ASSETS) copyFileSync(join(ROOT, asset), join(outDir, asset));
  cpSync(join(ROOT, MIGRATIONS), join(outDir, MIGRATIONS), {
    recursive: true,
    filter: (path) => !path.startsWith(join(ROOT, MIGRATIONS, "meta")),
  });
  const { script, migrationsDir: _, ...settings } = await poolFromSources(join(ROOT, "wrangler.toml"));
  mkdirSync(join(outDir, "pool"), { recursive: true });
  writeFileSync(join(outDir, "pool", "worker.js"), script);
  writeFileSync(join(outDir, "pool", "settings.json"), `${JSON.stringify(settings, null, 2)}\n`);
  console.log(`${manifest.name}: ${modules.files.length} modules and the pool's Worker in dist`);
}
