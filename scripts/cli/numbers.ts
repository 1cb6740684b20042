import { FlagError } from "./usage-error.ts";

const UNIT_DAYS: Readonly<Record<string, number>> = { s: 1 / 86_400, m: 1 / 1_440, h: 1 / 24, d: 1, w: 7 };

/** Days of a duration such as `30d`, `12h`, `1.5h`, `90s`, `2w`; undefined when it is none. */
export function durationDays(duration: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([smhdw])$/.exec(duration);
  const unit = match?.[2] === undefined ? undefined : UNIT_DAYS[match[2]];
  const days = unit === undefined ? Number.NaN : Number(match?.[1]) * unit;
  return days > 0 ? days : undefined;
}

/** At most so many days, or undefined when the flag was not given. */
export function days(flagName: string, given: string | undefined, maxDays: number): number | undefined {
  if (given === undefined) return undefined;
  const value = durationDays(given);
  if (value === undefined) throw new FlagError(flagName, `wants a duration such as 30d, 12h or 90s, not "${given}".`);
  if (value > maxDays) throw new FlagError(flagName, `is ${maxDays}d at most, not "${given}".`);
  return value;
}

/** Text of so many characters at most, or undefined when the flag was not given. */
export function short(flagName: string, given: string | undefined, maxChars: number): string | undefined {
  if (given !== undefined && given.length > maxChars) {
    throw new FlagError(flagName, `takes ${maxChars} characters at most; that one has ${given.length}.`);
  }
  return given;
}

/** A whole number in a range, or undefined when the flag was not given. */
export function whole(flagName: string, given: string | undefined, min: number, max: number): number | undefined {
  if (given === undefined) return undefined;
  const value = Number(given);
  if (!/^\d+$/.test(given) || value < min || value > max) {
    throw new FlagError(flagName, `wants a whole number from ${min} to ${max}, not "${given}".`);
  }
  return value;
}

export function decimal(flagName: string, given: string | undefined, min: number, max: number): number | undefined {
  if (given === undefined) return undefined;
  const value = Number(given);
  if (!/^\d+(\.\d+)?$/.test(given) || value < min || value > max) {
    throw new FlagError(flagName, `wants a number from ${min} to ${max}, not "${given}".`);
  }
  return value;
}

/** Pure: `1 worker`, `2 workers`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
