import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { expect, it } from "vitest";

/** The text files that git tracks, or would track. */
function textFiles(): string[] {
  const args = ["ls-files", "--cached", "--others", "--exclude-standard"];
  const names = execFileSync("git", args, { encoding: "utf8" }).split("\n");
  return names.filter((name) => /\.(ts|tsx|mjs|cjs|md|toml|sh|json)$/.test(name) && existsSync(name));
}

/** The anchor that GitHub makes from a heading. */
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

/** Links of a Markdown page to files and headings, outside code. */
function relativeLinks(page: string): string[] {
  const text = page.replace(/^```[\s\S]*?^```/gm, "").replace(/`[^`\n]*`/g, "");
  const targets = Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), ([, target = ""]) => target);
  return targets.filter((target) => !/^[a-z][a-z+.-]*:/i.test(target));
}

it("every relative link of a Markdown page leads to a file, and to a heading that it has", () => {
  const links = textFiles()
    .filter((file) => file.endsWith(".md"))
    .flatMap((file) => relativeLinks(readFileSync(file, "utf8")).map((link) => ({ file, link })));
  const dangling = links.filter(({ file, link }) => {
    const [path = "", anchor] = link.split("#");
    const target = path === "" ? file : normalize(join(dirname(file), path));
    if (!existsSync(target)) return true;
    return anchor !== undefined && !anchorsOf(readFileSync(target, "utf8")).has(anchor);
  });
  expect(dangling.map(({ file, link }) => `${file}: ${link}`)).toEqual([]);
  expect(links.length).toBeGreaterThan(50);
});

it("the glossary is in alphabetical order", () => {
  const glossary = readFileSync("docs/glossary.md", "utf8");
  const words = Array.from(glossary.matchAll(/^\| \[([^\]]+)\]/gm), ([, word = ""]) => word);
  expect(words).toEqual([...words].sort((a, b) => a.localeCompare(b, "en")));
  expect(words.length).toBeGreaterThan(40);
});
