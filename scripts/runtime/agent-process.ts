import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { idOfWorkerToken } from "../../schema/crypto/api-keys.ts";
import { parseJson } from "../../schema/wire/json-text.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { readIfPresent } from "../../worker-agent/cli/shared/read-if-present.ts";
import { EXIT_CODES } from "../../worker-agent/exit-codes.ts";
import { processCommand, processIdentity, signal, waitForEnd } from "../../worker-agent/state/processes.ts";
import type { AdminClient } from "./admin-client.ts";
import { LIGAND_PROGRAM } from "./ligand-program.ts";
import { openPrivateFolder, writePrivateFile } from "./private-files.ts";
import type { LogLine } from "./supervised-runtime.ts";

const RESTART_MIN_MS = 1_000;
const RESTART_MAX_MS = 30_000;
/** After a run of this length the restart delay is short again. */
const HEALTHY_MS = 60_000;
/** The time for running streams to finish. Ctrl-C must end everything within 5 s. */
const DRAIN_MS = 2_000;
const KILL_MS = 1_000;
const ORPHAN_MS = 2_000;
/** Give up after this many ends before the first connection. */
const EARLY_ENDS = 3;

export interface AgentOptions {
  poolUrl: string;
  admin: AdminClient;
  /** Holds the worker's key, its token and its calibration. */
  stateDir: string;
  /** As in `worker start --model`. */
  model?: string;
  log: LogLine;
}

export interface RunningAgent {
  /** Rejects if the worker cannot run on this machine. Otherwise it stays pending until the worker is stopped. */
  ended: Promise<void>;
  /** The id of the worker's token; null before there is one. */
  tokenId(): string | null;
  stop(): Promise<void>;
}

/** How a worker process ended. */
export interface AgentEnd {
  /** The exit code; null after a signal. */
  code: number | null;
  /** The code of the worker's own `stopped` event; undefined if it was killed or its flags were wrong. */
  stopped: string | undefined;
}

/**
 * What to do when the worker process has ended unexpectedly.
 *
 * @param early the number of ends since the start, including this one; null after the first connection
 */
export function afterExit({ code, stopped }: AgentEnd, early: number | null): "restart" | "new-invite" | "give-up" {
  // A worker that fails before its first connection has no model that runs here. A restart does not help.
  if (early !== null && (code === EXIT_CODES.failed || early >= EARLY_ENDS)) return "give-up";
  // This is our own pool, whose runtime is restarting.
  if (stopped === ("unreachable" satisfies keyof typeof EXIT_CODES)) return "restart";
  switch (code) {
    case EXIT_CODES["token-refused"]:
    case EXIT_CODES["token-expired"]:
    case EXIT_CODES["wrong-pool"]:
      return "new-invite";
    case EXIT_CODES.usage:
    case EXIT_CODES["protocol-too-old"]:
      return "give-up";
    default:
      return "restart";
  }
}

/** Runs a worker as a separate process beside the pool, and restarts it when it ends. */
export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const { stateDir, log } = options;
  await openPrivateFolder(stateDir, ["agent.key", "token"]);
  await endOrphanAgent(recordFile(stateDir), log);
  const stopping = new AbortController();
  let child: ChildProcess | undefined;

  async function keepRunning(): Promise<void> {
    let waitMs = RESTART_MIN_MS;
    const report: WorkerReport = { connected: false, stopped: undefined };
    for (let ends = 1; !stopping.signal.aborted; ends++) {
      const startedMs = performance.now();
      await ensureToken(options);
      if (stopping.signal.aborted) return;
      child = spawnAgent(options, report);
      const { code, how } = await endOf(child);
      rmSync(recordFile(stateDir), { force: true });
      if (stopping.signal.aborted) return;
      const next = afterExit({ code, stopped: report.stopped?.code }, report.connected ? null : ends);
      if (next === "give-up") {
        throw new OperatorError(
          `The worker cannot run here. ${report.stopped?.message ?? `It ended with ${how}. Its messages above say why.`}`,
        );
      }
      if (next === "new-invite") {
        rmSync(tokenFile(stateDir), { force: true });
        log("The pool no longer accepts the worker's token. Creating a new token.");
      }
      if (performance.now() - startedMs > HEALTHY_MS) waitMs = RESTART_MIN_MS;
      log(`The worker ended (${how}). Restarting it in ${waitMs} ms.`);
      await sleep(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      waitMs = Math.min(waitMs * 2, RESTART_MAX_MS);
    }
  }

  const ended = keepRunning();
  ended.catch(() => undefined);
  return {
    ended,
    tokenId: () => idOfWorkerToken(readIfPresent(tokenFile(stateDir))?.trim() ?? ""),
    async stop() {
      stopping.abort();
      if (child !== undefined) await endAgent(child);
      await ended.catch(() => undefined);
    },
  };
}

/** What the worker processes of one start have reported. */
interface WorkerReport {
  connected: boolean;
  /** Why the last process ended. */
  stopped: { code: string | undefined; message: string } | undefined;
}

function spawnAgent({ poolUrl, stateDir, model, log }: AgentOptions, report: WorkerReport): ChildProcess {
  report.stopped = undefined;
  const args = [
    LIGAND_PROGRAM,
    "worker",
    "start",
    "--pool",
    poolUrl,
    "--token-file",
    tokenFile(stateDir),
    "--state",
    stateDir,
    "--log",
    "json",
  ];
  if (model !== undefined) args.push("--model", model);
  const child = spawn(process.execPath, args, {
    env: ownSettings(process.env),
    // No messages are sent. A closed channel tells the worker that this process is gone.
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    // Ctrl-C in a terminal reaches the whole process group. This process stops the worker itself.
    detached: true,
  });
  if (child.pid !== undefined) {
    const identity = processIdentity(child.pid);
    if (identity !== undefined) writePrivateFile(recordFile(stateDir), JSON.stringify({ pid: child.pid, identity }));
  }
  const logLine = (line: string | undefined) => line !== undefined && log(`worker: ${line}`);
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const event = agentEvent.safeParse(parseJson(line)).data;
      if (event?.event === "connected") report.connected = true;
      if (event?.event === "stopped") report.stopped = { code: event.code, message: event.message };
      logLine(eventLine(line));
    });
  }
  if (child.stderr !== null) createInterface({ input: child.stderr }).on("line", logLine);
  return child;
}

/** The environment without LIGAND_ variables and without ligand.toml: those settings are for other workers of this machine. */
function ownSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const others = Object.entries(env).filter(([name]) => !name.startsWith("LIGAND_"));
  return { ...Object.fromEntries(others), LIGAND_CONFIG: "" };
}

/** The log line for an event of the worker; undefined for events of single jobs. */
export function eventLine(json: string): string | undefined {
  const event = agentEvent.safeParse(parseJson(json));
  if (!event.success) return json;
  return /^jobs?-/.test(event.data.event) ? undefined : event.data.message;
}

const agentEvent = z.object({ event: z.string(), message: z.string(), code: z.string().optional() });

/** Resolves when the worker has ended and all of its output is read. */
async function endOf(child: ChildProcess): Promise<{ code: number | null; how: string }> {
  const [code, signalName] = await once(child, "close");
  return typeof code === "number" ? { code, how: `exit code ${code}` } : { code: null, how: `signal ${signalName}` };
}

async function exitCode(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const [code] = await once(child, "exit");
  return typeof code === "number" ? code : null;
}

async function endAgent(child: ChildProcess): Promise<void> {
  const exited = exitCode(child);
  child.kill("SIGTERM");
  const drained = await Promise.race([exited.then(() => true), sleep(DRAIN_MS, false, { ref: false })]);
  if (!drained) {
    child.kill("SIGKILL");
    await Promise.race([exited, sleep(KILL_MS, undefined, { ref: false })]);
  }
}

/** Creates the worker's token on the first start. */
async function ensureToken({ admin, stateDir }: AgentOptions): Promise<void> {
  const file = tokenFile(stateDir);
  if (readIfPresent(file) !== undefined) return;
  const { token } = await admin.invite({ label: "local" });
  writePrivateFile(file, `${token}\n`);
}

function tokenFile(stateDir: string): string {
  return join(stateDir, "token");
}

function recordFile(stateDir: string): string {
  return join(stateDir, "agent.pid");
}

const agentRecord = z.object({ pid: z.int().positive(), identity: z.string() });

/** Ends the worker of a killed runner: two workers with one key would disconnect each other. */
async function endOrphanAgent(file: string, log: LogLine): Promise<void> {
  const text = readIfPresent(file);
  if (text === undefined) return;
  rmSync(file, { force: true });
  const record = agentRecord.safeParse(parseJson(text));
  if (!record.success) return;
  const { pid, identity } = record.data;
  if (processIdentity(pid) !== identity || !/\/ligand\.(ts|js) worker start /.test(processCommand(pid))) return;
  signal(pid, "SIGKILL");
  await waitForEnd(pid, identity, ORPHAN_MS);
  log(`Ended the worker of an earlier start (pid ${pid}).`);
}
