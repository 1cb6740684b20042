import { spawnSync } from "node:child_process";
import { expect, it } from "vitest";
import root from "../../../package.json" with { type: "json" };
import agent from "../../../worker-agent/package.json" with { type: "json" };

/** Runs a program with a faked Node version, because the check reads only the version. */
function runAs(version: string, ...args: string[]) {
  const versions = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${version}" } })`;
  const flags = ["--import", `data:text/javascript,${encodeURIComponent(versions)}`];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

it.each<[version: string, enough: boolean]>([
  ["20.20.2", false],
  ["22.12.0", false],
  ["22.17.1", false],
  ["22.18.0", true],
  ["23.0.0", false],
  ["23.5.0", false],
  ["23.6.0", true],
  ["24.0.0", true],
])("Node %s is new enough: %s", (version, enough) => {
  const { status, stderr } = runAs(version, "worker-agent/cli/node-version.mjs");
  expect(status).toBe(enough ? 0 : 1);
  if (!enough) expect(stderr).toContain(`This is Node ${version}; Ligand needs 22.18`);
});

it("both packages require the same version", () => {
  expect([root.engines.node, agent.engines.node]).toEqual(["^22.18.0 || >=23.6.0", "^22.18.0 || >=23.6.0"]);
});

it.each<[program: string, help: string]>([
  ["scripts/ligand.mjs", "npm run ligand -- COMMAND"],
  ["worker-agent/cli/ligand-worker.mjs", "ligand-worker.mjs COMMAND"],
])("%s runs, and an old Node gets an error that states the required version", (program, help) => {
  expect(runAs(process.versions.node, program, "--help")).toMatchObject({
    status: 0,
    stdout: expect.stringContaining(help),
  });
  const old = runAs("20.20.2", program, "--help");
  expect(old).toMatchObject({ status: 1, stdout: "" });
  expect(old.stderr).toContain("needs 22.18");
  expect(old.stderr).not.toContain("    at ");
});
