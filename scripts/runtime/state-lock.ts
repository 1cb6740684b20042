import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import {
  type Claim,
  type FolderLock,
  formatOwner,
  lockFolder,
  type OwnerState,
} from "../../worker-agent/state/folder-lock.ts";

/** The error for a start whose state folder is in use. */
export function refusal(stateDir: string, owner: Claim, state: OwnerState): string {
  const where = owner.url === null ? "still starting" : `at ${owner.url}`;
  const who = `in use by a pool runner: ${formatOwner(owner, state)}, ${where}`;
  return `The state folder ${stateDir} is ${who}. Stop that pool, or use another --state folder.`;
}

/** Allows one pool per state folder (docs/spec/pool.md#where-it-runs). */
export async function lockState(stateDir: string): Promise<FolderLock> {
  const locked = await lockFolder(stateDir);
  if (!locked.ok) throw new OperatorError(refusal(stateDir, locked.owner, locked.state));
  return locked.lock;
}
