import { type Bounds, GREATEST, INTEGER_DIGITS } from "../../../schema/wire/number-bounds.ts";

/**
 * Numbers within bounds, in GBNF. A grammar cannot compare, so a range is written out digit by digit: as long as what
 * is written follows a bound's own digits the next one is held to it, and once it has left them every digit will do.
 * That takes a few alternatives a digit, however many numbers there are.
 */
export function integerGrammar(bounds: Bounds | null): string {
  // As JSON may: -0 too.
  if (bounds === null) return `"-"? (${ANY_WHOLE})`;
  const [from, to] = [bounds.min ?? -GREATEST, bounds.max ?? GREATEST];
  return either([
    ...(from < 0 ? [`"-" (${wholes(Math.max(1, -to), -from)})`] : []),
    ...(to >= 0 ? [wholes(Math.max(0, from), to)] : []),
  ]);
}

export function numberGrammar(bounds: Bounds | null): string {
  // Two digits of exponent: beyond 308 a reader makes it an infinity.
  if (bounds === null) return `"-"? (${ANY_WHOLE}) ("." [0-9]{1,${INTEGER_DIGITS}})? ([eE] [-+]? [0-9]{1,2})?`;
  // Within bounds none: a comparison would have to count on.
  const { min, max, aboveMin, belowMax } = bounds;
  const [from, to] = [min ?? -GREATEST, max ?? GREATEST];
  // A reader rounds to a double, which must not become an excluded bound: 15 digits are always told apart.
  const longest = Math.max(...[min ?? 0, max ?? 0].map((bound) => String(Math.abs(bound)).length));
  const decimals = Math.max(1, INTEGER_DIGITS - longest);
  const below = { least: Math.max(0, -to), most: -from, aboveLeast: belowMax || to >= 0, belowMost: aboveMin };
  const above = { least: Math.max(0, from), most: to, aboveLeast: aboveMin && from >= 0, belowMost: belowMax };
  return either([
    // Zero has no sign here.
    ...(from < 0 ? [`"-" (${either(fractions(below, decimals))})`] : []),
    ...(to >= 0 ? fractions(above, decimals) : []),
  ]);
}

const ANY_WHOLE = `"0" | [1-9] [0-9]{0,${INTEGER_DIGITS - 1}}`;

interface Magnitudes {
  readonly least: number;
  readonly most: number;
  readonly aboveLeast: boolean;
  readonly belowMost: boolean;
}

/** Numbers without a sign: whole parts after which any fraction is within bounds, then the bounds' own. */
function fractions({ least, most, aboveLeast, belowMost }: Magnitudes, decimals: number): string[] {
  const open = aboveLeast ? least + 1 : least;
  const ways: string[] = [];
  if (open < most) ways.push(`(${wholes(open, most - 1)}) ("." [0-9]{1,${decimals}})?`);
  if (aboveLeast && least < most) ways.push(`"${least}." [0-9]{0,${decimals - 1}} [1-9]`);
  if (!belowMost && (least < most || !aboveLeast)) ways.push(`"${most}" ("." "0"{1,${decimals}})?`);
  return ways;
}

/** Whole numbers from `least` to `most`, 0 ≤ least ≤ most, without leading zeros. */
function wholes(least: number, most: number): string {
  if (least === 0) return most === 0 ? '"0"' : `"0" | ${wholes(1, most)}`;
  const [shortest, longest] = [String(least).length, String(most).length];
  if (shortest === longest) return between(String(least), String(most));
  return either([
    between(String(least), "9".repeat(shortest)),
    ...(longest - shortest > 1 ? [`[1-9] [0-9]{${shortest},${longest - 2}}`] : []),
    between(`1${"0".repeat(longest - 1)}`, String(most)),
  ]);
}

/** Digits, as many as both have, from those of `least` to those of `most`. */
function between(least: string, most: string): string {
  const [low = "", high = ""] = [least[0], most[0]];
  const [lowRest, highRest] = [least.slice(1), most.slice(1)];
  // Whether every rest will do, so that the bound's own digit is one of those between.
  const lowOpen = /^0*$/.test(lowRest);
  const highOpen = /^9*$/.test(highRest);
  if (low === high && !(lowOpen && highOpen)) return `"${low}" (${between(lowRest, highRest)})`;
  const [from, to] = [Number(low) + Number(!lowOpen), Number(high) - Number(!highOpen)];
  const rest = lowRest === "" ? "" : ` [0-9]{${lowRest.length},${lowRest.length}}`;
  return either([
    ...(lowOpen ? [] : [`"${low}" (${between(lowRest, "9".repeat(lowRest.length))})`]),
    ...(from <= to ? [`[${from}-${to}]${rest}`] : []),
    ...(highOpen ? [] : [`"${high}" (${between("0".repeat(highRest.length), highRest)})`]),
  ]);
}

const either = (ways: readonly string[]) => ways.join(" | ");
