import { dirname, join, resolve } from "node:path";
import { idOfWorkerToken } from "../../schema/crypto/api-keys.ts";

/** Pure: where the workers of this user keep their state; XDG base directory specification. */
export function defaultStateDir(env: Readonly<Record<string, string | undefined>>, home: string): string {
  const base = env.XDG_STATE_HOME;
  // The specification says to ignore a relative path.
  return join(base?.startsWith("/") ? base : join(home, ".local", "state"), "ligand", "worker");
}

export interface WorkerFolders {
  /** One worker's own: a key that two workers share would let each push the other out. */
  readonly stateDir: string;
  /** What is measured once for this machine. */
  readonly cacheDir: string;
}

/** The folders of the worker with this token, below `base` unless `--state` names one. */
export function workerFolders(base: string, token: string, given: string | undefined): WorkerFolders {
  const stateDir = resolve(given ?? join(base, idOfWorkerToken(token) ?? ""));
  return { stateDir, cacheDir: dirname(stateDir) === base ? base : stateDir };
}
