import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

/** The commands that a reader pastes into a terminal. */
const readme = readFileSync("README.md", "utf8");

it("the commands for Cloudflare are at most ten, and keep each secret in a private file that git ignores", () => {
  const [, block = ""] = /## Run a pool on Cloudflare\s+```sh\n(.*?)```/s.exec(readme) ?? [];
  const commands = block.trim().split("\n");
  expect(commands.length).toBeLessThanOrEqual(10);
  expect(commands[0]).toMatch(/^umask 077/);
  const kept = commands
    .filter((line) => line.includes("secret put"))
    .map((line) => /tee (\S+)/.exec(line)?.[1] ?? line);
  expect(kept).toEqual(["pool.key", "admin.token"]);
  expect(
    execFileSync("git", ["check-ignore", ...kept], { encoding: "utf8" })
      .trim()
      .split("\n"),
  ).toEqual(kept);
});
