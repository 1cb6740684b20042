import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

const POLL_MS = 10;

/**
 * Identifies a process by its start time, because pids are reused. Undefined if no such process is running; a zombie is
 * not running.
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

/** Reads `/proc/PID/stat` (proc(5)): field 3 is the state, field 22 the start time in clock ticks since boot. */
export function identityOfStat(boot: string, stat: string): string | undefined {
  // The command's name is in parentheses, and may contain spaces and parentheses.
  const fields = stat
    .slice(stat.lastIndexOf(")") + 1)
    .trim()
    .split(/\s+/);
  const [state, start] = [fields[0], fields[19]];
  if (state === undefined || start === undefined || state === "Z" || state === "X") return undefined;
  return `${boot.trim()}/${start}`;
}

/** Reads `ps -o stat= -o lstart=`: the letters of the state, then the start time in seconds. */
export function identityOfPs(line: string): string | undefined {
  const match = /^\s*(\S+)\s+(\S.*\S)\s*$/.exec(line);
  if (match === null || match[1]?.startsWith("Z")) return undefined;
  return match[2]?.replace(/\s+/g, " ");
}

/** The command line, or "" if it cannot be read. */
export function processCommand(pid: number): string {
  try {
    return process.platform === "linux"
      ? readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim()
      : execFileSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" }).trim();
  } catch {
    return "";
  }
}

/** Names the space in which a pid is unique: the host, and on Linux its pid namespace. */
export function pidSpace(): string {
  if (process.platform !== "linux") return hostname();
  try {
    return `${hostname()}/${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    return hostname();
  }
}

/** Resolves to true when this process has ended, to false if it is still running after `timeoutMs`. */
export async function waitForEnd(pid: number, identity: string, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (processIdentity(pid) === identity) {
    if (performance.now() >= deadline) return false;
    await sleep(POLL_MS);
  }
  return true;
}

/** Sends a signal. Ignores a process that has ended. */
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
