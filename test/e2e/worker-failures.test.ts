import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { startLocalNetwork } from "../../scripts/runtime/local-network.ts";
import { parseRecord } from "../../scripts/runtime/workerd-record.ts";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import { processIdentity } from "../../worker-agent/state/processes.ts";
import { run, startRefused, temporaryFolder } from "./support.ts";

/** A worker that cannot run ends the start that needed it, with the worker's own message. */

function brokenModel(): string {
  const file = join(temporaryFolder(), "broken.gguf");
  // The first bytes are right; no model follows.
  writeFileSync(file, Buffer.concat([Buffer.from("GGUF\x03\0\0\0"), Buffer.alloc(64, 0xff)]));
  return file;
}

it.each<[what: string, model: () => string, says: RegExp]>([
  ["file that does not exist", () => "/nowhere/model.gguf", /There is no model file at \/nowhere\/model\.gguf/],
  ["file that is not GGUF", () => import.meta.filename, /is not a GGUF file/],
  ["file that is damaged", brokenModel, /broken\.gguf is damaged, or was not downloaded whole .* Download it again/],
])("npm start with a model %s fails and reports it", async (_what, model, says) => {
  const stateDir = join(temporaryFolder(), "fresh");
  const { code, stdout, stderr } = await startRefused({ stateDir, args: ["--model", model()] });
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr.trimEnd().split("\n").at(-1)).toMatch(/^The worker cannot run here\. /);
  expect(stderr).toMatch(says);
  expect(stderr).not.toContain("    at ");
  expect(existsSync(stateDir)).toBe(false);
});

it("the demo with a model file that does not exist reports it in its line of JSON", async () => {
  const leftovers = () => readdirSync(tmpdir()).filter((name) => name.startsWith("ligand-demo-"));
  const before = leftovers();
  const { code, stdout } = await run(["scripts/demo.ts", "--model", "/nowhere/model.gguf"]);
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toEqual({ ok: false, error: expect.stringContaining("There is no model file") });
  expect(leftovers()).toEqual(before);
});

it("the demo answers with the model that --model names", async () => {
  const { code, stdout } = await run(["scripts/demo.ts", "--model", EMBEDDED_MODEL.path]);
  expect(JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "")).toMatchObject({ ok: true, model: EMBEDDED_MODEL.name });
  expect(code).toBe(0);
});

it("a worker that does not connect in time ends the start, and all its processes", async () => {
  const stateDir = temporaryFolder();
  let workerd: number | undefined;
  const starting = startLocalNetwork({
    stateDir,
    port: 0,
    worker: true,
    workerWaitMs: 1,
    signal: new AbortController().signal,
    log: () => {
      workerd = workerdPid(stateDir) ?? workerd;
    },
  });
  await expect(starting).rejects.toThrow("did not connect within 1 min");
  expect(workerd === undefined ? "none was seen" : processIdentity(workerd)).toBeUndefined();
  expect(readdirSync(stateDir)).toEqual([]);
});

function workerdPid(stateDir: string): number | undefined {
  try {
    return parseRecord(readFileSync(join(stateDir, "workerd.pid"), "utf8"))?.pid;
  } catch {
    return undefined;
  }
}
