import { FlagError } from "./usage-error.ts";

/** A flag's whole number in a range; undefined when the flag was not given. */
export function integer(flagName: string, given: string | undefined, min: number, max: number): number | undefined {
  if (given === undefined) return undefined;
  const value = Number(given);
  if (!/^\d+$/.test(given) || value < min || value > max) {
    throw new FlagError(flagName, `must be a whole number from ${min} to ${max}, not "${given}".`);
  }
  return value;
}

/** A flag's number in a range; undefined when the flag was not given. */
export function decimal(flagName: string, given: string | undefined, min: number, max: number): number | undefined {
  if (given === undefined) return undefined;
  const value = Number(given);
  if (!/^\d+(\.\d+)?$/.test(given) || value < min || value > max) {
    throw new FlagError(flagName, `must be a number from ${min} to ${max}, not "${given}".`);
  }
  return value;
}
