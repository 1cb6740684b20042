import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, it } from "vitest";
import { endOrphan, parseRecord, recordedWorkerd } from "../../../scripts/runtime/workerd-record.ts";
import { processIdentity } from "../../../worker-agent/state/processes.ts";
import { temporaryFolder } from "../../temporary-folder.ts";

let folder: string;
let record: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = temporaryFolder();
  record = join(folder, "workerd.pid");
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** A process with a given command line. Resolves once it runs its own program. */
async function run(command: string, args: string[], env: Record<string, string> = {}): Promise<ChildProcess> {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "ignore"] });
  children.push(child);
  await once(createInterface({ input: child.stdout }), "line");
  return child;
}

const IDLE = "console.log('up'); setInterval(() => {}, 1000)";

it("records the pid before the runtime runs, and ends that process", async () => {
  const { command, env } = recordedWorkerd(record);
  expect(existsSync(env.LIGAND_WORKERD ?? "")).toBe(true);
  const child = await run(command, ["-e", IDLE, "workerd"], { ...env, LIGAND_WORKERD: process.execPath });
  expect(parseRecord(readFileSync(record, "utf8"))).toEqual({
    pid: child.pid,
    identity: processIdentity(child.pid ?? 0),
  });
  const exited = once(child, "exit");
  expect(await endOrphan(record)).toBe(child.pid);
  expect(await exited).toEqual([null, "SIGKILL"]);
  expect(await endOrphan(record)).toBeUndefined();
});

it.each<[what: string, args: string[], changeStart: boolean]>([
  ["has the pid and another start time", ["-e", IDLE, "workerd"], true],
  ["is not workerd", ["-e", IDLE], false],
])("leaves a process alone that %s", async (_what, args, changeStart) => {
  const { command, env } = recordedWorkerd(record);
  const child = await run(command, args, { ...env, LIGAND_WORKERD: process.execPath });
  if (changeStart) {
    const [pid, boot, stat = ""] = readFileSync(record, "utf8").split("\n");
    const fields = stat.split(" ");
    fields[21] = "1";
    writeFileSync(record, [pid, boot, fields.join(" "), ""].join("\n"));
  }
  expect(await endOrphan(record)).toBeUndefined();
  expect(child.exitCode).toBeNull();
  expect(processIdentity(child.pid ?? 0)).toBeDefined();
});

it.each([
  ["an empty file", ""],
  ["text without a pid", "no\nrecord\nat all"],
  ["a pid without a start time", "12\nboot\n"],
])("%s is no record", (_what, text) => expect(parseRecord(text)).toBeUndefined());

it("without a record there is no orphan", async () => expect(await endOrphan(record)).toBeUndefined());
