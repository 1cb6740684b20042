import { IS_PACKAGE } from "./is-package.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** The commands that a person types, so that printed commands can be pasted. They differ between a package and a clone. */
export interface TypedCommands {
  /** Begins every command of `ligand`. */
  readonly ligand: string;
  /** Starts the pool. */
  readonly start: string;
  /** Starts the pool, with flags after it. */
  readonly startWith: string;
}

export function typedCommands(isPackage: boolean, env: Environment): TypedCommands {
  if (!isPackage) return { ligand: "npm run ligand --", start: "npm start", startWith: "npm start --" };
  const ligand = viaNpx("ligand", env);
  return { ligand, start: `${ligand} pool start`, startWith: `${ligand} pool start` };
}

/** What a person types to run `ligand-worker`. @param program the file that runs */
export function typedWorkerCommand(isPackage: boolean, program: string, env: Environment): string {
  return isPackage ? viaNpx("ligand-worker", env) : `node ${program}`;
}

/** npx sets `npm_execpath`. Without npx, the program is in the PATH. */
function viaNpx(program: string, env: Environment): string {
  return env.npm_execpath === undefined ? program : `npx ${program}`;
}

/** The commands of this process. */
export const { ligand: LIGAND, start: START, startWith: START_WITH } = typedCommands(IS_PACKAGE, process.env);
