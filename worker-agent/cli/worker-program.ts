import type { Values } from "./shared/command.ts";
import { poolFlag } from "./shared/pool-flag.ts";
import { UsageError } from "./shared/usage-error.ts";

/** The program that carries these commands: `ligand-worker`, or `ligand worker` in a pool's repository. */
export interface WorkerProgram {
  /** What runs these commands with Node: a program's absolute path, then the words before `start`. */
  readonly argv: readonly [program: string, ...words: string[]];
  /** The URL of the pool on this machine, used when `--pool` is not given. */
  localPool?(): string | undefined;
  /** The state folder of the worker that `npm start` runs. */
  readonly builtInWorkerDir?: string;
}

/** The URL of the pool to serve. */
export function poolOf(program: WorkerProgram, values: Values): string {
  const url = poolFlag(values) ?? program.localPool?.();
  if (url === undefined) throw new UsageError("Which pool? Give --pool URL or set LIGAND_POOL.");
  return url;
}
