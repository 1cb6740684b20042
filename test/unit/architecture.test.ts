import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

it.each(["ARCHITECTURE.md", "CONTRIBUTING.md"])("%s names files and folders that exist", (page) => {
  const named = Array.from(
    readFileSync(page, "utf8").matchAll(/`([a-z][\w.-]*(?:\/[\w.-]+)+\/?)`/g),
    ([, path = ""]) => path,
  );
  const missing = named.filter((path) => !existsSync(path));
  expect(missing).toEqual([]);
  expect(named.length).toBeGreaterThan(3);
});
