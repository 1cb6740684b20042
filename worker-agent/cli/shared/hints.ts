import { LIGAND, START_WITH } from "./called-as.ts";
import type { Option } from "./settings.ts";
import { shellWord } from "./shell-word.ts";

/** Builds the commands that messages suggest, ready to paste. A suggested command addresses the same pool as this one. */
export interface Hints {
  /** A command of `ligand`. @param command for example `peers list` */
  ligand(command: string): string;
  /** Starts the pool. @param flags for example `--public-url URL` */
  start(flags?: string): string;
  /** Another command of this command's group, for example `status` of the worker. */
  sibling(command: string): string;
}

/**
 * Repeats the `--pool` and `--state` that were given as flags. Values from variables or from ligand.toml apply to the
 * next command anyway.
 *
 * @param group what a person types before this command's verb, for example `ligand worker`
 */
export function hintsOf(
  options: Readonly<Record<string, Option>>,
  given: Readonly<Record<string, unknown>>,
  group: string = LIGAND,
): Hints {
  const repeated = (name: "pool" | "state") => {
    const value = given[name];
    // The --state of a worker names another folder.
    const isPools = options[name]?.setting?.section === "any";
    return isPools && typeof value === "string" ? [`--${name} ${shellWord(value)}`] : [];
  };
  return {
    ligand: (command) => [LIGAND, command, ...repeated("pool"), ...repeated("state")].join(" "),
    start: (flags) => [START_WITH, ...(flags === undefined ? [] : [flags]), ...repeated("state")].join(" "),
    sibling: (command) => `${group} ${command}`,
  };
}
