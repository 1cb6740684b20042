import { LIGAND } from "./called-as.ts";
import type { Option } from "./settings.ts";
import { shellWord } from "./worker-service.ts";

/** The commands that words name, as they can be pasted: each goes to the pool to which the one that says them went. */
export interface Hints {
  /** Of the command line. @param command as in `peers list` */
  ligand(command: string): string;
  /** Of `npm start`. @param flags as in `--public-url URL` */
  start(flags?: string): string;
}

/** Pure: with the flags that say which pool. What a variable or a file settled holds for the next command by itself. */
export function hintsOf(options: Readonly<Record<string, Option>>, given: Readonly<Record<string, unknown>>): Hints {
  const said = (name: "pool" | "state") => {
    const value = given[name];
    // A worker's --state is another folder.
    const isPools = options[name]?.setting?.section === "any";
    return isPools && typeof value === "string" ? [`--${name} ${shellWord(value)}`] : [];
  };
  return {
    ligand: (command) => [LIGAND, command, ...said("pool"), ...said("state")].join(" "),
    start: (flags) => ["npm start --", ...(flags === undefined ? [] : [flags]), ...said("state")].join(" "),
  };
}
