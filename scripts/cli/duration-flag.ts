import { FlagError } from "../../worker-agent/cli/shared/usage-error.ts";

const UNIT_DAYS: Readonly<Record<string, number>> = { s: 1 / 86_400, m: 1 / 1_440, h: 1 / 24, d: 1, w: 7 };

/** Parses a duration such as `30d`, `12h`, `1.5h`, `90s` or `2w` into days; undefined if the text is not a duration. */
export function durationDays(duration: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)([smhdw])$/.exec(duration);
  const unit = match?.[2] === undefined ? undefined : UNIT_DAYS[match[2]];
  const days = unit === undefined ? Number.NaN : Number(match?.[1]) * unit;
  return days > 0 ? days : undefined;
}

/** A flag's duration in days; undefined when the flag was not given. */
export function days(flagName: string, given: string | undefined, maxDays: number): number | undefined {
  if (given === undefined) return undefined;
  const value = durationDays(given);
  if (value === undefined) {
    throw new FlagError(flagName, `must be a duration such as 30d, 12h or 90s, not "${given}".`);
  }
  if (value > maxDays) throw new FlagError(flagName, `must be at most ${maxDays}d, not "${given}".`);
  return value;
}
