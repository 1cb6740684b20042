import { buildLigandPackage } from "./package/ligand-package.ts";
import { buildWorkerPackage } from "./package/worker-package.ts";

/** `npm run build [ligand|worker]`: builds the JavaScript of the npm packages, which `npm pack` runs first. */
const BUILDS: Readonly<Record<string, () => Promise<void>>> = {
  ligand: buildLigandPackage,
  worker: buildWorkerPackage,
};

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(BUILDS);
for (const name of names) {
  const build = BUILDS[name];
  if (build === undefined) {
    console.error(`There is no package "${name}". Packages: ${Object.keys(BUILDS).join(", ")}.`);
    process.exit(2);
  }
  await build();
}
