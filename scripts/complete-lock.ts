import { readFileSync, writeFileSync } from "node:fs";

/**
 * `npm run lock`: adds the optional packages of all platforms to package-lock.json. npm leaves out an optional package that
 * its registry does not have, and `npm ci` then refuses the lockfile on every platform. The versions come from the packages
 * that depend on them.
 */
interface LockEntry {
  version?: string;
  optionalDependencies?: Record<string, string>;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  dev?: boolean;
}

const OS: Record<string, string> = {
  darwin: "darwin",
  mac: "darwin",
  linux: "linux",
  linuxmusl: "linux",
  win: "win32",
  win32: "win32",
  windows: "win32",
  android: "android",
  freebsd: "freebsd",
  netbsd: "netbsd",
  openbsd: "openbsd",
  openharmony: "openharmony",
  sunos: "sunos",
  aix: "aix",
};
const CPU = ["x64", "arm64", "arm", "ia32", "ppc64", "riscv64", "s390x", "loong64", "mips64el", "wasm32"];

const file = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(file, "utf8")) as { packages: Record<string, LockEntry> };
let added = 0;
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (isLocked(path, name)) continue;
    const platform = platformOf(name);
    if (!platform || !/^\d+\.\d+\.\d+/.test(version)) {
      console.error(
        `${path} depends on ${name}@${version}, whose name or version is not understood. Correct OS and CPU in scripts/complete-lock.ts.`,
      );
      process.exitCode = 1;
      continue;
    }
    const folder = siblingFolder(path, entry) ?? "";
    lock.packages[`${folder}node_modules/${name}`] = {
      version,
      optional: true,
      ...(entry.dev && { dev: true }),
      ...platform,
    };
    added += 1;
  }
}
const [root, ...rest] = Object.entries(lock.packages);
if (root) lock.packages = Object.fromEntries([root, ...rest.sort(([a], [b]) => a.localeCompare(b, "en"))]);
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
console.log(
  added === 0 ? "The lockfile is complete." : `Added ${added} packages of other platforms to the lockfile. Commit it.`,
);

/** Whether the lockfile has the package where Node finds it: in the folder of `path`, or in a folder above it. */
function isLocked(path: string, name: string): boolean {
  for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("node_modules/")))) {
    if (lock.packages[`${folder === "" || folder.endsWith("/") ? folder : `${folder}/`}node_modules/${name}`])
      return true;
    if (folder === "") return false;
  }
}

/** The folder of the optional dependency for this platform. Those for other platforms belong into the same folder. */
function siblingFolder(path: string, entry: LockEntry): string | undefined {
  for (const name of Object.keys(entry.optionalDependencies ?? {})) {
    if (lock.packages[`${path}/node_modules/${name}`]) return `${path}/`;
  }
  return undefined;
}

function platformOf(name: string): { os?: string[]; cpu?: string[] } | undefined {
  const words = name.split(/[/_-]/);
  const os = words.map((word) => OS[word]).find((found) => found !== undefined);
  const cpu = CPU.find((one) => words.includes(one));
  if (!os && cpu !== "wasm32") return undefined;
  return { ...(os && { os: [os] }), ...(cpu && { cpu: [cpu] }) };
}
