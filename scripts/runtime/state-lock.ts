import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import {
  type Claim,
  type FolderLock,
  formatOwner,
  lockFolder,
  type OwnerState,
} from "../../worker-agent/state/folder-lock.ts";

/** Pure: the sentence for the runner that is refused. */
export function refusal(stateDir: string, owner: Claim, state: OwnerState): string {
  const where = owner.url === null ? "still starting" : `at ${owner.url}`;
  const who = `in use by a pool runner: ${formatOwner(owner, state)}, ${where}`;
  return `The state folder ${stateDir} is ${who}. Stop it first, or start this one with another --state folder.`;
}

/** One runner a state folder (docs/spec/pool.md#where-it-runs). */
export async function lockState(stateDir: string): Promise<FolderLock> {
  const locked = await lockFolder(stateDir);
  if (!locked.ok) throw new OperatorError(refusal(stateDir, locked.owner, locked.state));
  return locked.lock;
}
