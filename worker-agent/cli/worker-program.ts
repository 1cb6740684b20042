import type { Values } from "./shared/command.ts";
import { poolFlag } from "./shared/pool-flag.ts";
import { UsageError } from "./shared/usage-error.ts";

/** The program that offers these commands: `ligand-worker`, or `ligand` as `ligand worker`. */
export interface WorkerProgram {
  /** The arguments of Node that run these commands: a program's absolute path, then the words before `start`. */
  readonly argv: readonly [program: string, ...words: string[]];
  /** The URL of the pool on this machine, used when `--pool` is not given. */
  localPool?(): string | undefined;
  /** The state folder of the worker that the pool on this machine starts. */
  readonly builtInWorkerDir?: string;
}

/** The URL of the pool to serve. */
export function poolOf(program: WorkerProgram, values: Values): string {
  const url = poolFlag(values) ?? program.localPool?.();
  if (url === undefined) throw new UsageError("No pool is given. Give --pool URL or set LIGAND_POOL.");
  return url;
}
