import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 10;

/**
 * Which start of which process a pid means: a recycled pid has another one.
 * Undefined when no such process runs; a zombie does not run.
 */
export function processIdentity(pid: number): string | undefined {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  try {
    return process.platform === "linux"
      ? identityOfStat(bootId(), readFileSync(`/proc/${pid}/stat`, "utf8"))
      : identityOfPs(execFileSync("ps", ["-o", "stat=", "-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }));
  } catch {
    return undefined;
  }
}

/** From `/proc/PID/stat` (proc(5)): field 3 is the state, field 22 the start in clock ticks since boot. */
export function identityOfStat(boot: string, stat: string): string | undefined {
  // The command's name is in parentheses and may itself hold spaces and parentheses.
  const fields = stat
    .slice(stat.lastIndexOf(")") + 1)
    .trim()
    .split(/\s+/);
  const [state, start] = [fields[0], fields[19]];
  if (state === undefined || start === undefined || state === "Z" || state === "X") return undefined;
  return `${boot.trim()}/${start}`;
}

/** From `ps -o stat= -o lstart=`: the state's letters, then the start to the second. */
export function identityOfPs(line: string): string | undefined {
  const match = /^\s*(\S+)\s+(\S.*\S)\s*$/.exec(line);
  if (match === null || match[1]?.startsWith("Z")) return undefined;
  return match[2]?.replace(/\s+/g, " ");
}

/** The command line, or "" where it cannot be read. */
export function processCommand(pid: number): string {
  try {
    return process.platform === "linux"
      ? readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim()
      : execFileSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" }).trim();
  } catch {
    return "";
  }
}

/** Where pids mean the same: host, and on Linux its pid namespace (a container has its own). */
export function pidSpace(): string {
  if (process.platform !== "linux") return hostname();
  try {
    return `${hostname()}/${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return hostname();
  }
}

/** Resolves true once that start of that process has ended, false when it still runs after `timeoutMs`. */
export async function waitForEnd(pid: number, identity: string, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (processIdentity(pid) === identity) {
    if (performance.now() >= deadline) return false;
    await sleep(POLL_MS);
  }
  return true;
}

/** Sends a signal; a process that has ended meanwhile is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}

function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8");
}
