import { FlagError } from "../../worker-agent/cli/shared/usage-error.ts";

/** A flag's text, checked for its length; undefined when the flag was not given. */
export function maxLength(flagName: string, given: string | undefined, maxChars: number): string | undefined {
  if (given !== undefined && given.length > maxChars) {
    throw new FlagError(flagName, `must have at most ${maxChars} characters; it has ${given.length}.`);
  }
  return given;
}
