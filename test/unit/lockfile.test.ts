import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

interface Entry {
  version?: string;
  resolved?: string;
  link?: boolean;
  optionalDependencies?: Record<string, string>;
}
const lock = JSON.parse(readFileSync(new URL("../../package-lock.json", import.meta.url), "utf8")) as {
  packages: Record<string, Entry>;
};
const entries = Object.entries(lock.packages);
const names = new Set(entries.map(([path]) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length)));

it("the lockfile names the packages of every platform, or `npm ci` refuses it", () => {
  const missing = entries.flatMap(([, entry]) =>
    Object.keys(entry.optionalDependencies ?? {}).filter((name) => !names.has(name)),
  );
  expect(missing, "run: npm run lock").toEqual([]);
});

it("the lockfile records no download address", () => {
  expect(entries.filter(([, entry]) => entry.resolved && !entry.link).map(([path]) => path)).toEqual([]);
});
