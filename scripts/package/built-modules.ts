import { mkdirSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type BuildOptions, build, type Plugin } from "esbuild";

/** The root of the repository. Paths of modules are relative to it. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The same target as in tsconfig.json. */
const TARGET = "es2024";

export interface BuiltModules {
  /** The source files that were written as JavaScript. */
  readonly files: readonly string[];
  /** The npm packages that they import. */
  readonly packages: readonly string[];
}

/**
 * Writes the entries and every module they import as JavaScript, in the same folders as the sources, so that
 * a path relative to `import.meta.url` means the same in a package and in a clone. Node strips no types below
 * `node_modules`, so a package cannot contain the sources.
 *
 * @param leaveOut modules that are imported dynamically, and only in a clone
 */
export async function buildModules(
  entries: readonly string[],
  outDir: string,
  leaveOut: readonly string[] = [],
): Promise<BuiltModules> {
  const { files, packages } = await importedBy(entries, leaveOut);
  const sources = (isPlain: boolean) => files.filter((file) => file.endsWith(".mjs") === isPlain);
  await transpile(sources(false), ".js", outDir);
  await transpile(sources(true), ".mjs", outDir);
  return { files, packages };
}

/** Throws if the modules import a package that `package.json` does not list, or if it lists one that none imports. */
export function checkDependencies(
  { packages }: BuiltModules,
  manifest: { name: string; dependencies: Readonly<Record<string, string>> },
): void {
  const listed = Object.keys(manifest.dependencies).sort();
  const missing = packages.filter((name) => !listed.includes(name));
  const unused = listed.filter((name) => !packages.includes(name));
  if (missing.length > 0) {
    throw new Error(
      `${manifest.name} imports packages that its package.json does not list: ${missing.join(", ")}. Add them.`,
    );
  }
  if (unused.length > 0) {
    throw new Error(
      `The package.json of ${manifest.name} lists packages that it does not import: ${unused.join(", ")}. Remove them.`,
    );
  }
}

async function importedBy(entries: readonly string[], leaveOut: readonly string[]): Promise<BuiltModules> {
  const { metafile } = await build({
    ...COMMON,
    entryPoints: entries.map((entry) => join(ROOT, entry)),
    splitting: true,
    outdir: join(ROOT, "dist"),
    write: false,
    metafile: true,
    packages: "external",
    plugins: [leftOut(leaveOut)],
  });
  const imports = Object.values(metafile.inputs).flatMap((input) => input.imports);
  const external = imports.filter((it) => it.external && !isBuiltin(it.path) && !it.path.startsWith("."));
  return {
    files: Object.keys(metafile.inputs).sort(),
    packages: [...new Set(external.map(({ path }) => packageName(path)))].sort(),
  };
}

async function transpile(files: readonly string[], extension: ".js" | ".mjs", outDir: string): Promise<void> {
  const { outputFiles } = await build({
    ...COMMON,
    entryPoints: files.map((file) => join(ROOT, file)),
    outbase: ROOT,
    outdir: outDir,
    outExtension: { ".js": extension },
    write: false,
    plugins: [importsOfJavaScript],
  });
  for (const { path, contents } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    // npm makes the files that `bin` names executable.
    writeFileSync(path, contents);
  }
}

const COMMON = {
  absWorkingDir: ROOT,
  bundle: true,
  format: "esm",
  platform: "node",
  target: TARGET,
  logLevel: "warning",
} as const satisfies BuildOptions;

/** Does not bundle: each import stays an import. It names the JavaScript file instead of the source. */
const importsOfJavaScript: Plugin = {
  name: "imports-of-javascript",
  setup({ onResolve }) {
    onResolve({ filter: /.*/ }, ({ kind, path }) =>
      kind === "entry-point" ? undefined : { path: path.replace(/^(\..*)\.ts$/, "$1.js"), external: true },
    );
  },
};

function leftOut(files: readonly string[]): Plugin {
  return {
    name: "left-out",
    setup({ onResolve }) {
      onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) => {
        const file = relative(ROOT, resolve(resolveDir, path));
        return kind === "dynamic-import" && files.includes(file) ? { path, external: true } : undefined;
      });
    },
  };
}

function isBuiltin(path: string): boolean {
  return path.startsWith("node:") || builtinModules.includes(path);
}

function packageName(path: string): string {
  return path
    .split("/")
    .slice(0, path.startsWith("@") ? 2 : 1)
    .join("/");
}
