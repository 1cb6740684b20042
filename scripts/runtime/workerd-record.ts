import { rmSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { IS_PACKAGE } from "../../worker-agent/cli/shared/is-package.ts";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { readIfPresent } from "../../worker-agent/cli/shared/read-if-present.ts";
import {
  identityOfPs,
  identityOfStat,
  processCommand,
  processIdentity,
  signal,
  waitForEnd,
} from "../../worker-agent/state/processes.ts";

/** The file in the state folder that records the process of the runtime. */
export const WORKERD_RECORD = "workerd.pid";

const END_MS = 5_000;

/** The command to run in place of workerd, and its environment. */
export function recordedWorkerd(recordFile: string): { command: string; env: Record<string, string> } {
  // workerd is a dependency of Miniflare, so it is resolved from there.
  const fromMiniflare = createRequire(createRequire(import.meta.url).resolve("miniflare"));
  const binary: unknown = fromMiniflare("workerd");
  const path = typeof binary === "object" && binary !== null && "default" in binary ? binary.default : binary;
  if (typeof path !== "string")
    throw new OperatorError(`workerd is not installed. Run: ${IS_PACKAGE ? "npm install" : "npm ci"}`);
  return {
    command: fileURLToPath(new URL("recorded-workerd.sh", import.meta.url)),
    env: { LIGAND_WORKERD: path, LIGAND_WORKERD_RECORD: recordFile },
  };
}

/** Parses what recorded-workerd.sh wrote; undefined if it is not valid. */
export function parseRecord(text: string): { pid: number; identity: string } | undefined {
  const [pidLine = "", how = "", ...rest] = text.split("\n");
  const pid = Number(pidLine);
  const detail = rest.join("\n");
  const identity = how === "ps" ? identityOfPs(detail) : identityOfStat(how, detail);
  return Number.isSafeInteger(pid) && pid > 0 && identity !== undefined ? { pid, identity } : undefined;
}

/**
 * Ends the workerd of a killed runner, and waits until it is gone, because until then it still writes to this state. Returns
 * its pid, or undefined if there was none. Another process with the same pid is not touched.
 */
export async function endOrphan(recordFile: string): Promise<number | undefined> {
  const text = readIfPresent(recordFile);
  const record = text === undefined ? undefined : parseRecord(text);
  if (record === undefined) return undefined;
  const { pid, identity } = record;
  if (processIdentity(pid) !== identity || !processCommand(pid).includes("workerd")) return undefined;
  signal(pid, "SIGKILL");
  if (!(await waitForEnd(pid, identity, END_MS))) {
    throw new OperatorError(
      `Cannot end the runtime of an earlier start (pid ${pid}). End it yourself, then start again.`,
    );
  }
  rmSync(recordFile, { force: true });
  return pid;
}
