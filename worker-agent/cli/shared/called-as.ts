import { basename } from "node:path";

type Environment = Readonly<Record<string, string | undefined>>;

/** What a person types to run `ligand` the way this process was started, so that printed commands can be pasted. */
export function calledAs(program: string | undefined, env: Environment): string {
  if (basename(program ?? "") !== "ligand") return "npm run ligand --";
  return env.npm_execpath === undefined ? "ligand" : "npx ligand";
}

/** Begins every `ligand` command that is printed. */
export const LIGAND = calledAs(process.argv[1], process.env);

const IS_CHECKOUT = LIGAND.startsWith("npm run");

/** What a person types to start the pool, without flags and before flags. */
export const START = IS_CHECKOUT ? "npm start" : `${LIGAND} pool start`;
export const START_WITH = IS_CHECKOUT ? "npm start --" : START;

/** As `calledAs`, for `ligand-worker`. */
export function workerCalledAs(program: string, env: Environment): string {
  if (basename(program) !== "ligand-worker") return `node ${program}`;
  return env.npm_execpath === undefined ? "ligand-worker" : "npx ligand-worker";
}
