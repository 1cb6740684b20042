/**
 * What the check forbids: impure files named `…-machine.ts`, `…-rules.ts` or `…-tracker.ts`, and stubs with more methods
 * than their callers may use. Planted files show that the check can fail.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { expect, it } from "vitest";
import { temporaryFolder } from "../temporary-folder.ts";

const root = resolve(import.meta.dirname, "../..");

/** A copy of the check's configuration, with these files beside it. */
function plant(files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder();
  for (const name of ["biome.json", "scripts/check", ".dependency-cruiser.cjs", "tsconfig.json", "package.json"])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

interface Diagnostic {
  severity: string;
  message: string;
  location: { path: string };
}

function lint(files: Readonly<Record<string, string>>): Diagnostic[] {
  const args = ["lint", "--vcs-enabled=false", "--reporter=json", "--max-diagnostics=none", "."];
  const { stdout } = spawnSync(join(root, "node_modules/.bin/biome"), args, { cwd: plant(files), encoding: "utf8" });
  return (JSON.parse(stdout) as { diagnostics: Diagnostic[] }).diagnostics;
}

const CLOCK = "is given the time";
const RANDOM = "is given randomness";
const denied = (name: string) => `the global variable ${name}`;

const PLANTED: readonly [file: string, code: string, says: string][] = [
  ["edge/a-rules.ts", "export const f = () => Date.now();", CLOCK],
  ["edge/b-rules.ts", "const now = Date.now; export const f = () => now();", CLOCK],
  ["edge/c-rules.ts", "export const f = () => Date();", CLOCK],
  ["edge/d-rules.ts", "export const f = () => new Date();", CLOCK],
  ["edge/e-rules.ts", "const { now } = Date; export const f = () => now();", CLOCK],
  ["edge/f-rules.ts", "const D = Date; export const f = () => D.now();", CLOCK],
  ["edge/g-rules.ts", "export const f = () => performance.now();", denied("performance")],
  ["edge/h-rules.ts", "export const f = () => globalThis.Date.now();", denied("globalThis")],
  ["edge/i-rules.ts", "const random = Math.random; export const f = () => random();", RANDOM],
  ["edge/j-rules.ts", "export const f = () => crypto.randomUUID();", denied("crypto")],
  ["edge/k-machine.ts", "export const f = (g: () => void) => queueMicrotask(g);", denied("queueMicrotask")],
  ["edge/l-machine.ts", "export const f = (g: () => void) => setImmediate(g);", denied("setImmediate")],
  ["edge/m-machine.ts", "export const f = (g: () => void) => setTimeout(g, 1);", denied("setTimeout")],
  ["edge/n-tracker.ts", "export const f = () => Date.now();", CLOCK],
  ["schema/o-rules.ts", "export const f = () => Date.now();", CLOCK],
  ["test/p-rules.ts", "export const f = () => Date.now();", CLOCK],
  ["edge/limits/bounded-map.ts", "export const f = () => Date.now();", CLOCK],
];

it("no clock, no timer and no randomness can hide in a pure file", () => {
  const innocent = {
    "edge/innocent-rules.ts": "export const f = (text: string) => Date.parse(text) + Math.max(1, 2);\n",
  };
  const diagnostics = lint({ ...innocent, ...Object.fromEntries(PLANTED.map(([file, code]) => [file, `${code}\n`])) });
  const found = (file: string) =>
    diagnostics.filter(({ severity, location }) => severity === "error" && location.path.endsWith(file));
  for (const [file, code, says] of PLANTED) {
    expect(
      found(file)
        .map(({ message }) => message)
        .join("\n"),
      code,
    ).toContain(says);
  }
  expect(found("innocent-rules.ts")).toEqual([]);
});

it.each<[what: string, file: string, code: string, isRefused: boolean]>([
  [
    "a route gets a stub by itself",
    "edge/a/routes.ts",
    'export const f = (env: any) => env.BOND.getByName("x");',
    true,
  ],
  ["a route takes the method", "edge/a/routes.ts", "export const f = (env: any) => env.BOND.getByName;", true],
  ["an id by name", "edge/a/routes.ts", 'export const f = (env: any) => env.BOND.idFromName("x");', true],
  ["itty-durable's proxy", "edge/a/routes.ts", "export const f = () => proxyDurable({}, {});", true],
  [
    "the place that narrows stubs",
    "edge/a/bond-for.ts",
    'export const f = (env: any) => env.BOND.getByName("x");',
    false,
  ],
])("%s", (_what, file, code, isRefused) => {
  const found = lint({ [file]: `${code}\n` }).map(({ message }) => message);
  expect(found.some((message) => message.includes("A stub comes from a *-for.ts"))).toBe(isRefused);
});

it.each<[what: string, imported: string, text: string]>([
  ["a timer", "edge/limits/timeout.ts", "export const x = 1;\n"],
  ["a client of peers", "edge/peer-client.ts", "export const x = 1;\n"],
  ["an object", "edge/lane-object.ts", "export const x = 1;\n"],
])("a pure file cannot import %s", (_what, imported, text) => {
  const from = `../${imported}`;
  const folder = plant({
    [imported]: text,
    "edge/planted-rules.ts": `import { x } from "${from}";\nexport const y = x;\n`,
  });
  const { stdout } = spawnSync(
    join(root, "node_modules/.bin/depcruise"),
    ["--config", ".dependency-cruiser.cjs", "edge"],
    {
      cwd: folder,
      encoding: "utf8",
    },
  );
  expect(stdout).toContain(`machines-are-pure: edge/planted-rules.ts → ${imported}`);
});

it("dependency-cruiser and Biome know the same pure files", () => {
  const cruiser = readFileSync(join(root, ".dependency-cruiser.cjs"), "utf8");
  const pure = new RegExp(JSON.parse(/PURE =\s*("(?:.*)")/.exec(cruiser)?.[1] ?? '""') as string);
  const biome = JSON.parse(readFileSync(join(root, "biome.json"), "utf8")) as { overrides: { includes: string[] }[] };
  const includes = biome.overrides[0]?.includes ?? [];
  const files = execFileSync("git", ["ls-files", "*.ts"], { cwd: root, encoding: "utf8" }).trim().split("\n");
  const byBiome = files.filter((file) =>
    includes.some((glob) => (glob.startsWith("**/*") ? file.endsWith(glob.slice(4)) : file === glob)),
  );
  expect(byBiome).toEqual(files.filter((file) => pure.test(file)));
  expect(byBiome.length).toBeGreaterThan(50);
});
