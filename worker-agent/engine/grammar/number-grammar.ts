import { type Bounds, INTEGER_DIGITS, MAX_INTEGER } from "../../../schema/wire/json-schema/number-bounds.ts";

/**
 * Integers within bounds, in GBNF (docs/spec/engines.md#grammars). A grammar cannot compare numbers, so a range is
 * written out digit by digit. While a number has the same leading digits as a bound, its next digit is limited by that
 * bound's next digit; after the first different digit, all digits are allowed. This takes a few alternatives for each
 * digit, however large the range is.
 */
export function integerGrammar(bounds: Bounds | null): string {
  // JSON allows -0.
  if (bounds === null) return `"-"? (${ANY_INTEGER})`;
  const [from, to] = [bounds.min ?? -MAX_INTEGER, bounds.max ?? MAX_INTEGER];
  return anyOf([
    ...(from < 0 ? [`"-" (${integerRange(Math.max(1, -to), -from)})`] : []),
    ...(to >= 0 ? [integerRange(Math.max(0, from), to)] : []),
  ]);
}

/** The GBNF expression of JSON numbers within bounds; null: without bounds. */
export function numberGrammar(bounds: Bounds | null): string {
  // The exponent has two digits: JSON readers turn an exponent above 308 into infinity.
  if (bounds === null) return `"-"? (${ANY_INTEGER}) ("." [0-9]{1,${INTEGER_DIGITS}})? ([eE] [-+]? [0-9]{1,2})?`;
  // Numbers with bounds have no exponent: digit-by-digit comparison would have to take it into account.
  const { min, max, aboveMin, belowMax } = bounds;
  const [from, to] = [min ?? -MAX_INTEGER, max ?? MAX_INTEGER];
  // JSON readers round to a double, which must not become an excluded bound. Doubles keep 15 digits apart.
  const maxDigits = Math.max(...[min ?? 0, max ?? 0].map((bound) => String(Math.abs(bound)).length));
  const decimals = Math.max(1, INTEGER_DIGITS - maxDigits);
  const negative = { min: Math.max(0, -to), max: -from, aboveMin: belowMax || to >= 0, belowMax: aboveMin };
  const positive = { min: Math.max(0, from), max: to, aboveMin: aboveMin && from >= 0, belowMax };
  return anyOf([
    // Zero has no sign here.
    ...(from < 0 ? [`"-" (${anyOf(fractions(negative, decimals))})`] : []),
    ...(to >= 0 ? fractions(positive, decimals) : []),
  ]);
}

const ANY_INTEGER = `"0" | [1-9] [0-9]{0,${INTEGER_DIGITS - 1}}`;

/** A range of numbers without a sign. `aboveMin` and `belowMax` exclude the bound itself. */
interface MagnitudeRange {
  readonly min: number;
  readonly max: number;
  readonly aboveMin: boolean;
  readonly belowMax: boolean;
}

/** First the integer parts that allow every fraction, then the integer parts of the bounds themselves. */
function fractions({ min, max, aboveMin, belowMax }: MagnitudeRange, decimals: number): string[] {
  const open = aboveMin ? min + 1 : min;
  const alternatives: string[] = [];
  if (open < max) alternatives.push(`(${integerRange(open, max - 1)}) ("." [0-9]{1,${decimals}})?`);
  if (aboveMin && min < max) alternatives.push(`"${min}." [0-9]{0,${decimals - 1}} [1-9]`);
  if (!belowMax && (min < max || !aboveMin)) alternatives.push(`"${max}" ("." "0"{1,${decimals}})?`);
  return alternatives;
}

/** Integers from `min` to `max` (0 ≤ min ≤ max) without leading zeros. */
function integerRange(min: number, max: number): string {
  if (min === 0) return max === 0 ? '"0"' : `"0" | ${integerRange(1, max)}`;
  const [minDigits, maxDigits] = [String(min).length, String(max).length];
  if (minDigits === maxDigits) return digitRange(String(min), String(max));
  return anyOf([
    digitRange(String(min), "9".repeat(minDigits)),
    ...(maxDigits - minDigits > 1 ? [`[1-9] [0-9]{${minDigits},${maxDigits - 2}}`] : []),
    digitRange(`1${"0".repeat(maxDigits - 1)}`, String(max)),
  ]);
}

/** Digit strings from `min` to `max`, which have the same length. */
function digitRange(min: string, max: string): string {
  const [low = "", high = ""] = [min[0], max[0]];
  const [lowRest, highRest] = [min.slice(1), max.slice(1)];
  // If a bound allows every rest, its first digit belongs to the digits between the bounds.
  const lowOpen = /^0*$/.test(lowRest);
  const highOpen = /^9*$/.test(highRest);
  if (low === high && !(lowOpen && highOpen)) return `"${low}" (${digitRange(lowRest, highRest)})`;
  const [from, to] = [Number(low) + Number(!lowOpen), Number(high) - Number(!highOpen)];
  const rest = lowRest === "" ? "" : ` [0-9]{${lowRest.length},${lowRest.length}}`;
  return anyOf([
    ...(lowOpen ? [] : [`"${low}" (${digitRange(lowRest, "9".repeat(lowRest.length))})`]),
    ...(from <= to ? [`[${from}-${to}]${rest}`] : []),
    ...(highOpen ? [] : [`"${high}" (${digitRange("0".repeat(highRest.length), highRest)})`]),
  ]);
}

const anyOf = (alternatives: readonly string[]) => alternatives.join(" | ");
