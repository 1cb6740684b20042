import { readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeEach, expect, it } from "vitest";
import { bundlePool } from "../../../scripts/runtime/pool-bundle.ts";
import { temporaryFolder } from "../../temporary-folder.ts";

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});

it("pools that start at the same time in one process all get their bundle, whichever is done first", async () => {
  // The shorter bundle is done while the longer one is being read.
  const bundles = await Promise.all(
    [file("schema/wire/limits.ts"), file("edge/index.ts")].map((f) => bundlePool(f, {}, folder)),
  );
  expect(bundles.map((text) => text.includes("clientBodyBytes"))).toEqual([true, true]);
});

it("a bundle is reused exactly as long as its source files are unchanged", async () => {
  const [entry, inner] = [join(folder, "entry.ts"), join(folder, "inner.ts")];
  const write = (path: string, text: string) => {
    writeFileSync(path, text);
    // The files are older than the start, as usual.
    utimesSync(path, 1, 1);
  };
  const made = (define = {}) => bundlePool(entry, define, folder);
  const kept = () => readdirSync(folder).filter((name) => name.startsWith("bundle-"));
  write(entry, 'export { inner } from "./inner.ts"; export const said = SAID;');
  write(inner, "export const inner = 1;");
  const first = await made({ SAID: "1" });
  const [name = ""] = kept();
  const marked = readFileSync(join(folder, name), "utf8").replace("said = 1", "said = 1 /* kept */");
  writeFileSync(join(folder, name), marked);
  expect(await made({ SAID: "1" })).toContain("kept");
  expect(await made({ SAID: "2" })).toContain("said = 2");
  write(inner, "export const inner = 2;");
  expect(await made({ SAID: "1" })).toBe(first.replace("inner = 1", "inner = 2"));
  writeFileSync(join(folder, name), "half a f");
  expect(await made({ SAID: "1" })).toContain("inner = 2");
  // A file that may have changed while it was read must not be trusted.
  writeFileSync(inner, "export const inner = 3;");
  utimesSync(inner, new Date(Date.now() + 60_000), new Date(Date.now() + 60_000));
  rmSync(join(folder, name));
  expect(await made({ SAID: "1" })).toContain("inner = 3");
  expect(kept()).not.toContain(name);
});
