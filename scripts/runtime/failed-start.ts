import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { FIRST_START, RUNTIME_STATE } from "./pool-secrets.ts";
import { isScratch } from "./runtime-scratch.ts";
import { WORKERD_RECORD } from "./workerd-record.ts";

/** The files and folders that a start makes in its state folder. */
const STATE = [
  ".gitignore",
  "credentials.json",
  FIRST_START,
  "lock",
  RUNTIME_STATE,
  "secrets.json",
  "worker",
  WORKERD_RECORD,
  `${WORKERD_RECORD}.new`,
];

/**
 * Removes the state of a failed first start, and the folder itself if the start made it. If the folder has any file that
 * no start makes, nothing is removed. Miniflare's folder for temporary files may still be there: Miniflare does not wait
 * for its removal.
 */
export function removeFailedStart(stateDir: string, madeFolder: boolean): void {
  const names = readdirSync(stateDir);
  if (!names.every((name) => STATE.includes(name) || isScratch(name))) return;
  const remove = { recursive: true, force: true };
  if (madeFolder) rmSync(stateDir, remove);
  else for (const name of names) rmSync(join(stateDir, name), remove);
}
