import { basename } from "node:path";

/** Pure: what to type for the command line where this program was started, so that what is printed can be pasted. */
export function calledAs(program: string | undefined, env: Readonly<Record<string, string | undefined>>): string {
  // `npx ligand` has the name on a path of its own, which ends with it.
  const isOnPath = basename(program ?? "") === "ligand" && env.npm_execpath === undefined;
  return isOnPath ? "ligand" : "npm run ligand --";
}

/** Comes before every command of ours that is printed. */
export const LIGAND = calledAs(process.argv[1], process.env);
