import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

/** The text files of the tree that git tracks, or would. */
function textFiles(): string[] {
  const args = ["ls-files", "--cached", "--others", "--exclude-standard"];
  const names = execFileSync("git", args, { encoding: "utf8" }).split("\n");
  return names.filter((name) => /\.(ts|tsx|mjs|cjs|md|toml|sh|json)$/.test(name) && existsSync(name));
}

/** As GitHub makes an anchor of a heading. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

function anchorsOf(page: string): Set<string> {
  return new Set(Array.from(page.matchAll(/^#{1,6} (.+)$/gm), ([, heading = ""]) => anchorOf(heading)));
}

const CITATION = /docs\/spec\/([a-z-]+\.md)(?:#([a-z0-9-]+))?/g;

it("every citation of the specification names a heading that exists", () => {
  const citations = textFiles().flatMap((file) =>
    Array.from(readFileSync(file, "utf8").matchAll(CITATION), ([cited, page = "", anchor]) => ({
      file,
      cited,
      page,
      anchor,
    })),
  );
  const pages = new Map<string, Set<string>>();
  const dangling = citations.filter(({ page, anchor }) => {
    const path = `docs/spec/${page}`;
    if (!existsSync(path)) return true;
    if (!pages.has(page)) pages.set(page, anchorsOf(readFileSync(path, "utf8")));
    return anchor !== undefined && !pages.get(page)?.has(anchor);
  });
  expect(dangling.map(({ file, cited }) => `${file}: ${cited}`)).toEqual([]);
  expect(citations.length).toBeGreaterThan(100);
});

it("nothing cites a specification that the repository does not have", () => {
  const citing = textFiles().filter((file) => /\bSPEC(\.md)? \d/.test(readFileSync(file, "utf8")));
  expect(citing).toEqual([]);
});
