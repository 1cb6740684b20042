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

/** The violations of the rules of imports in these files, one a line. */
function cruise(files: Readonly<Record<string, string>>): string {
  const args = [
    "--config",
    ".dependency-cruiser.cjs",
    ...new Set(Object.keys(files).map((file) => `${file.split("/")[0]}`)),
  ];
  return spawnSync(join(root, "node_modules/.bin/depcruise"), args, { cwd: plant(files), encoding: "utf8" }).stdout;
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
  ["edge/q-rules.ts", "export const f = () => new Date;", CLOCK],
  ["edge/r-rules.ts", 'export const f = () => Date["now"]();', CLOCK],
  ["edge/s-rules.ts", "export const f = (g: (d: unknown) => number) => g(Date);", CLOCK],
  ["edge/t-rules.ts", "export const f = () => AbortSignal.timeout(5);", CLOCK],
  ["edge/u-rules.ts", 'export const f = () => Math["random"]();', RANDOM],
  ["edge/v-rules.ts", "const { random } = Math; export const f = () => random();", RANDOM],
  ["edge/w-rules.ts", "export const f = (g: (m: unknown) => number) => g(Math);", RANDOM],
  ["edge/x-rules.ts", 'export const f = () => eval("1");', denied("eval")],
  ["edge/y-rules.ts", 'export const f = () => new Function("return 1");', denied("Function")],
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
  [
    "a route names the method in brackets",
    "edge/a/routes.ts",
    'export const f = (env: any) => env.BOND["getByName"]("x");',
    true,
  ],
  [
    "a route unpacks the method",
    "edge/a/routes.ts",
    "export const f = ({ BOND: { getByName } }: any) => getByName;",
    true,
  ],
  ["a route renames the method", "edge/a/routes.ts", "export const f = ({ BOND: { getByName: g } }: any) => g;", true],
  ["an id from a text", "edge/a/routes.ts", 'export const f = (env: any) => env.BOND.idFromString("x");', true],
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

it.each<[what: string, file: string, code: string, isRefused: boolean]>([
  ["a route cannot call out", "edge/a/routes.ts", 'export const f = () => fetch("https://a.example");', true],
  ["an object cannot keep the function", "edge/a/a-object.ts", "export const f = { send: fetch };", true],
  ["a client calls out", "edge/a/a-client.ts", 'export const f = () => fetch("https://a.example");', false],
  [
    "a route calls an object",
    "edge/a/routes.ts",
    'export const f = (lane: any) => lane.fetch("https://lane/");',
    false,
  ],
])("%s", (_what, file, code, isRefused) => {
  const found = lint({ [file]: `${code}\n` }).map(({ message }) => message);
  expect(found.some((message) => message.includes("the global variable fetch"))).toBe(isRefused);
});

it.each<[what: string, imported: string, rule: string]>([
  ["a timer", "edge/limits/timeout.ts", "machines-are-pure"],
  ["an answer that several requests share", "edge/limits/shared-answer.ts", "machines-are-pure"],
  ["a client of peers", "edge/peer-client.ts", "machines-are-pure"],
  ["an object", "edge/lane-object.ts", "machines-are-pure"],
  ["a maker of keys", "schema/crypto/api-keys.ts", "machines-draw-no-keys"],
])("a pure file cannot import %s", (_what, imported, rule) => {
  const planted = (how: string) => `${how}\nexport const y = x;\n`;
  const violations = cruise({
    [imported]: "export const x = 1;\n",
    "edge/planted-rules.ts": planted(`import { x } from "../${imported}";`),
    "edge/later-rules.ts": planted(`const { x } = await import("../${imported}");`),
    "edge/innocent-rules.ts": `import type { x } from "../${imported}";\nexport type Y = typeof x;\n`,
  });
  expect(violations).toContain(`${rule}: edge/planted-rules.ts → ${imported}`);
  expect(violations).toContain(`${rule}: edge/later-rules.ts → ${imported}`);
  expect(violations).not.toContain(`${rule}: edge/innocent-rules.ts`);
});

it("a pure file cannot import the platform", () => {
  const planted =
    'import { env } from "cloudflare:workers";\nimport { readFileSync } from "node:fs";\nexport const y = [env, readFileSync];\n';
  const violations = cruise({ "schema/planted-machine.ts": planted });
  expect(violations).toContain("machines-are-pure: schema/planted-machine.ts → cloudflare:workers");
  expect(violations).toContain("machines-are-pure: schema/planted-machine.ts → fs");
});

it.each<[what: string, file: string, imported: string, isRefused: boolean]>([
  ["a route for peers cannot import a stub for admins", "edge/federation/a-routes.ts", "bondForAdmin", true],
  ["a route for peers cannot rename one", "edge/federation/a-routes.ts", "bondForAdmin as bondForPeer", true],
  ["a route for peers cannot import one of another object", "edge/federation/sync/a.ts", "eventLogForAdmins", true],
  ["a route for peers cannot restore a peer", "edge/federation/a-routes.ts", "bondForRestore", true],
  ["a route for clients cannot import a stub for admins", "edge/inference/a-routes.ts", "accountForAdmins", true],
  ["a route for peers imports a stub for peers", "edge/federation/a-routes.ts", "bondForPeer", false],
  ["a route for admins imports a stub for admins", "edge/backup/routes.ts", "bondForAdmin", false],
])("%s", (_what, file, imported, isRefused) => {
  const code = `import { ${imported} } from "../a/bond-for.ts";\nexport const f = ${imported.split(" ").at(-1)};\n`;
  const found = lint({ [file]: code }).map(({ message }) => message);
  expect(found.some((message) => message.includes("Only routes of admins"))).toBe(isRefused);
});

it("dependency-cruiser and Biome know the same pure files", () => {
  const cruiser = readFileSync(join(root, ".dependency-cruiser.cjs"), "utf8");
  const pure = new RegExp(JSON.parse(/PURE =\s*("(?:.*)")/.exec(cruiser)?.[1] ?? '""') as string);
  const biome = JSON.parse(readFileSync(join(root, "biome.json"), "utf8")) as { overrides: { includes: string[] }[] };
  const includes = biome.overrides.find((override) => override.includes.includes("**/*-rules.ts"))?.includes ?? [];
  const files = execFileSync("git", ["ls-files", "*.ts"], { cwd: root, encoding: "utf8" }).trim().split("\n");
  const byBiome = files.filter((file) =>
    includes.some((glob) => (glob.startsWith("**/*") ? file.endsWith(glob.slice(4)) : file === glob)),
  );
  expect(byBiome).toEqual(files.filter((file) => pure.test(file)));
  expect(byBiome.length).toBeGreaterThan(50);
});
