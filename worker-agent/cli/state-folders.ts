import { dirname, join, resolve } from "node:path";
import { idOfWorkerToken } from "../../schema/crypto/api-keys.ts";

/** The folder of this user's workers, by the XDG base directory specification. */
export function defaultStateDir(env: Readonly<Record<string, string | undefined>>, home: string): string {
  const base = env.XDG_STATE_HOME;
  // The specification tells programs to ignore a relative path.
  return join(base?.startsWith("/") ? base : join(home, ".local", "state"), "ligand", "worker");
}

export interface WorkerFolders {
  /** One worker's own folder. If two workers shared a key, each would disconnect the other. */
  readonly stateDir: string;
  /** Measurements of this machine, shared by its workers. */
  readonly cacheDir: string;
}

/** The folders of the worker with this token: below `base`, unless `--state` names another folder. */
export function workerFolders(base: string, token: string, given: string | undefined): WorkerFolders {
  const stateDir = resolve(given ?? join(base, idOfWorkerToken(token) ?? ""));
  return { stateDir, cacheDir: dirname(stateDir) === base ? base : stateDir };
}
