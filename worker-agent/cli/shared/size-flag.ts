import { FlagError } from "./usage-error.ts";

const UNIT_BYTES: Readonly<Record<string, number>> = {
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** Parses a size such as `8GB`, `7.5GiB` or `900MB` into bytes; undefined if the text is not a size. */
export function sizeBytes(size: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?) ?([MGT]i?B)$/.exec(size);
  const unit = match?.[2] === undefined ? undefined : UNIT_BYTES[match[2]];
  const bytes = unit === undefined ? Number.NaN : Math.floor(Number(match?.[1]) * unit);
  return bytes > 0 ? bytes : undefined;
}

/** A flag's size in bytes; undefined when the flag was not given. */
export function size(flagName: string, given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const value = sizeBytes(given);
  if (value === undefined) throw new FlagError(flagName, `must be a size such as 8GB or 900MB, not "${given}".`);
  return value;
}
