import { basename } from "node:path";

type Environment = Readonly<Record<string, string | undefined>>;

/** What a person types to run `ligand` the way this process was started, so that printed commands can be pasted. */
export function calledAs(program: string | undefined, env: Environment): string {
  const isOnPath = basename(program ?? "") === "ligand" && env.npm_execpath === undefined;
  return isOnPath ? "ligand" : "npm run ligand --";
}

/** Begins every `ligand` command that is printed. */
export const LIGAND = calledAs(process.argv[1], process.env);

/** As `calledAs`, for `ligand-worker`. */
export function workerCalledAs(program: string, env: Environment): string {
  if (basename(program) !== "ligand-worker") return `node ${program}`;
  return env.npm_execpath === undefined ? "ligand-worker" : "npx ligand-worker";
}
