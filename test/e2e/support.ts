import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import { type AdminClient, adminClient } from "../../scripts/runtime/admin-client.ts";
import { type Credentials, readCredentials } from "../../scripts/runtime/credentials.ts";
import { endOrphan, parseRecord } from "../../scripts/runtime/workerd-record.ts";
import { processCommand, processIdentity, signal } from "../../worker-agent/state/processes.ts";
import type { AgentStatus } from "../../worker-agent/state/status-file.ts";
import { temporaryFolder, temporaryFolders } from "../temporary-folder.ts";

/** Real processes for end-to-end tests. Processes that a test file starts are ended by pid when the file ends. */

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const POLL_MS = 20;
const READY_MS = 60_000;
const EXIT_MS = 60_000;
/** Generous, for a busy machine. Only a failing test waits this long. */
const BUSY = 10;
/** Shorter than a test's own limit, so that the error names what it waited for. */
const LONGEST_WAIT_MS = 200_000;

const started: ChildProcess[] = [];
const states = new Set<string>();

afterAll(async () => {
  for (const child of started) await kill(child, "SIGKILL");
  // Also for state folders inside such a folder: a killed runner leaves its runtime.
  for (const folder of new Set([...states, ...temporaryFolders()])) {
    const record = join(folder, "workerd.pid");
    if (existsSync(record)) await endOrphan(record);
    endRecordedAgent(join(folder, "worker", "agent.pid"));
  }
});

export { temporaryFolder };

/**
 * Polls until the answer is truthy, and returns it. An attempt that throws counts as falsy.
 *
 * @param usuallyMs the longest time on a quiet machine; a busy machine gets ten times as long
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  usuallyMs: number,
  what: string,
): Promise<Exclude<T, undefined | null | false | 0 | "">> {
  const limitMs = Math.min(usuallyMs * BUSY, LONGEST_WAIT_MS);
  const deadline = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await condition();
      if (answer) return answer as Exclude<T, undefined | null | false | 0 | "">;
      last = answer;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= deadline) throw new Error(`waited ${limitMs} ms for ${what}; last: ${String(last)}`);
    await sleep(POLL_MS);
  }
}

export interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program of the repository to its end, for example `run(["scripts/ligand.ts", "pool", "workers"])`. */
export async function run(args: string[], env: Record<string, string> = {}): Promise<Finished> {
  const child = spawnNode(args, env);
  const output = collect(child);
  const [code] = await once(child, "close");
  return { code: typeof code === "number" ? code : null, ...output };
}

/** The command line, for example `ligand(["pool", "workers", "--json"])`. */
export function ligand(args: string[], env: Record<string, string> = {}): Promise<Finished> {
  return run(["scripts/ligand.ts", ...args], env);
}

/** Node arguments that make a program believe that its output is a terminal. */
export const TERMINAL = ["--import", "data:text/javascript,process.stdout.isTTY = process.stderr.isTTY = true"];

/** Starts a program of the repository without waiting for its end. */
export function spawnProgram(
  args: string[],
  env: Record<string, string> = {},
): { child: ChildProcess; output: Output } {
  const child = spawnNode(args, env);
  return { child, output: collect(child) };
}

/** Starts the command line without waiting for its end. */
export function spawnLigand(args: string[], env: Record<string, string> = {}): { child: ChildProcess; output: Output } {
  return spawnProgram(["scripts/ligand.ts", ...args], env);
}

/** Runs a line in a shell in the repository. Signals go to the program that the line runs. */
export function spawnShell(line: string, env: Record<string, string>): { child: ChildProcess; output: Output } {
  const child = spawnIn("/bin/sh", ["-c", `exec ${line.trim()}`], env);
  return { child, output: collect(child) };
}

export interface Stopped {
  code: number | null;
  ms: number;
}

export interface PoolProcess {
  url: string;
  credentials: Credentials;
  admin: AdminClient;
  stateDir: string;
  pid: number;
  workerdPid(): number;
  /** The output so far, of both streams. */
  output(): string;
  /** Asks for a clean end, by default with SIGTERM, and waits for it. */
  stop(name?: NodeJS.Signals): Promise<Stopped>;
  /** Kills only the runner. workerd keeps running. */
  kill9(): Promise<void>;
}

export interface StartPool {
  /** Flags of `npm start`. The default starts only the pool. */
  args?: string[];
  /** An existing state folder. The default is a new one. */
  stateDir?: string;
  port?: number;
  env?: Record<string, string>;
}

/** Runs `npm start` as a process. Resolves when it is ready. */
export async function startPool(options: StartPool = {}): Promise<PoolProcess> {
  const stateDir = options.stateDir ?? temporaryFolder();
  const workerDir = options.args?.includes("--no-worker") === false ? join(stateDir, "worker") : undefined;
  if (workerDir !== undefined && !existsSync(workerDir)) seedMeasurements(workerDir);
  const { child, output } = spawnStart(options, stateDir, "--json");
  await waitFor(
    () => {
      if (ended(child)) throw new Error("it has ended");
      return output.stdout.includes('"ready":true');
    },
    READY_MS,
    "the pool to be ready",
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${output.stdout}${output.stderr}`);
  });
  const credentials = readCredentials(stateDir);
  if (credentials === undefined) throw new Error("there is no credentials.json");
  if (workerDir !== undefined) keepMeasurements(workerDir);
  return {
    url: credentials.url,
    credentials,
    admin: adminClient(credentials.url, credentials.admin_token),
    stateDir,
    pid: pidOf(child),
    workerdPid() {
      const record = parseRecord(readFileSync(join(stateDir, "workerd.pid"), "utf8"));
      if (record === undefined) throw new Error("workerd is not on record");
      return record.pid;
    },
    output: () => output.stdout + output.stderr,
    stop: (name = "SIGTERM") => stop(child, name),
    kill9: () => kill(child, "SIGKILL"),
  };
}

/** Runs an `npm start` that must fail. Resolves when it has ended. */
export async function startRefused(options: StartPool): Promise<Finished> {
  const { child, output } = spawnStart(options, options.stateDir ?? temporaryFolder());
  const [code] = await once(child, "close");
  return { code: typeof code === "number" ? code : null, ...output };
}

/** Starts `npm start` without waiting. */
export function spawnStart(
  options: StartPool,
  stateDir: string,
  ...more: string[]
): { child: ChildProcess; output: Output } {
  const { args = ["--no-worker"], port = 0, env = {} } = options;
  states.add(stateDir);
  const child = spawnNode(["scripts/start.ts", "--state", stateDir, "--port", String(port), ...more, ...args], env);
  return { child, output: collect(child) };
}

export interface WorkerProcess {
  pid: number;
  workerId: string;
  tokenId: string;
  stateDir: string;
  /** The content of status.json. */
  status(): AgentStatus;
  output(): string;
  /** The exit code; undefined while the worker runs. */
  ended(): { code: number | null } | undefined;
  /** Asks for a drain and waits for its end. */
  stop(name?: NodeJS.Signals): Promise<Stopped>;
  kill9(): Promise<void>;
}

export interface StartWorker {
  slots?: number;
  model?: string;
  args?: string[];
  env?: Record<string, string>;
  /** The validity of the invite in days. */
  expiresInDays?: number;
}

/** Shared by all files of this run (`run-folder.ts`): the measurements of the first worker. */
const { E2E_RUN_FOLDER: RUN_FOLDER = temporaryFolder() } = process.env;
const MEASURED = ["calibration.json", "model-hashes.json"];

/** Invites a worker and runs `ligand worker start`; resolves when the pool lists it as connected. */
export async function startWorker(pool: PoolProcess, options: StartWorker = {}): Promise<WorkerProcess> {
  const folder = temporaryFolder();
  const stateDir = join(folder, "state");
  const tokenFile = join(folder, "token");
  const { id: tokenId, token } = await pool.admin.invite({ label: "e2e", expires_in_days: options.expiresInDays });
  writeFileSync(tokenFile, token, { mode: 0o600 });
  seedMeasurements(stateDir);
  const args = ["worker", "start", "--pool", pool.url, "--token-file", tokenFile, "--state", stateDir];
  if (options.slots !== undefined) args.push("--slots", String(options.slots));
  if (options.model !== undefined) args.push("--model", options.model);
  const child = spawnNode(["scripts/ligand.ts", ...args, ...(options.args ?? [])], options.env ?? {});
  const output = collect(child);
  const { worker_id: workerId } = await waitFor(
    async () => {
      if (ended(child)) throw new Error("it has ended");
      return (await pool.admin.workers()).workers.find((worker) => worker.token_id === tokenId);
    },
    READY_MS,
    "the worker to be connected",
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${output.stdout}${output.stderr}`);
  });
  keepMeasurements(stateDir);
  const status = () => JSON.parse(readFileSync(join(stateDir, "status.json"), "utf8")) as AgentStatus;
  // The pool sees the connection before the worker does.
  await waitFor(() => status().connected, READY_MS, "the worker to know that it is connected");
  return {
    pid: pidOf(child),
    workerId,
    tokenId,
    stateDir,
    status,
    ended: () => (ended(child) ? { code: child.exitCode } : undefined),
    output: () => output.stdout + output.stderr,
    stop: (name = "SIGTERM") => stop(child, name),
    kill9: () => kill(child, "SIGKILL"),
  };
}

/** Creates a worker's folder with the measurements of an earlier worker, because measuring is slow beside other tests. */
export function seedMeasurements(stateDir: string): void {
  mkdirSync(stateDir, { mode: 0o700 });
  for (const name of MEASURED) {
    const from = join(RUN_FOLDER, name);
    if (existsSync(from)) copyFileSync(from, join(stateDir, name));
  }
}

function keepMeasurements(stateDir: string): void {
  for (const name of MEASURED) {
    const from = join(stateDir, name);
    const to = join(RUN_FOLDER, name);
    if (!existsSync(from) || existsSync(to)) continue;
    // Another test file may be reading it now.
    copyFileSync(from, `${to}.${process.pid}`);
    renameSync(`${to}.${process.pid}`, to);
  }
}

interface Output {
  stdout: string;
  stderr: string;
}

function spawnNode(args: string[], env: Record<string, string>): ChildProcess {
  return spawnIn(process.execPath, args, env);
}

function spawnIn(program: string, args: string[], env: Record<string, string>): ChildProcess {
  // Settings of the person who runs the tests must not affect them.
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("LIGAND_"));
  const child = spawn(program, args, {
    cwd: ROOT,
    env: { ...Object.fromEntries(inherited), XDG_CONFIG_HOME: RUN_FOLDER, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  started.push(child);
  return child;
}

function collect(child: ChildProcess): Output {
  const output: Output = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output.stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    output.stderr += text;
  });
  return output;
}

function ended(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error("the process did not start");
  return child.pid;
}

async function stop(child: ChildProcess, name: NodeJS.Signals): Promise<Stopped> {
  const startedMs = performance.now();
  if (!ended(child)) {
    const exited = once(child, "exit", { signal: AbortSignal.timeout(EXIT_MS) });
    child.kill(name);
    await exited;
  }
  return { code: child.exitCode, ms: performance.now() - startedMs };
}

async function kill(child: ChildProcess, name: NodeJS.Signals): Promise<void> {
  if (ended(child) || child.pid === undefined) return;
  const exited = once(child, "exit");
  child.kill(name);
  await exited;
}

/** Ends the worker of a killed `npm start`. */
function endRecordedAgent(file: string): void {
  if (!existsSync(file)) return;
  const { pid, identity } = JSON.parse(readFileSync(file, "utf8")) as { pid: number; identity: string };
  if (processIdentity(pid) === identity && processCommand(pid).includes("ligand.ts")) signal(pid, "SIGKILL");
}
