/** The digits of integers that a grammar writes. All of them satisfy a bound with more digits. */
export const INTEGER_DIGITS = 15;
export const MAX_INTEGER = 10 ** INTEGER_DIGITS - 1;
/** Numbers without bounds have an exponent of at most two digits, so all of them are below this. */
const BEYOND_NUMBERS = 10 ** (INTEGER_DIGITS + 99);

/** Integer bounds of a number. Null if no number that a grammar writes exceeds the bound. */
export interface Bounds {
  readonly min: number | null;
  readonly max: number | null;
  /** Whether the bound itself is excluded. Never true for integers. */
  readonly aboveMin: boolean;
  readonly belowMax: boolean;
}

export const BOUND_KEYWORDS = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"] as const;
type Keyword = (typeof BOUND_KEYWORDS)[number];

export type BoundsReading =
  /** Null if the keywords exclude no number that a grammar writes. */
  | { readonly ok: true; readonly bounds: Bounds | null }
  | { readonly ok: false; readonly keyword: Keyword; readonly message: string; readonly remedy: string | null };

/** Reads the four keywords for bounds, as far as a grammar can enforce them. */
export function readBounds(given: Readonly<Record<Keyword, unknown>>, integer: boolean): BoundsReading {
  const bounds: Partial<Record<Keyword, number>> = {};
  for (const keyword of BOUND_KEYWORDS) {
    const value = given[keyword];
    if (value === undefined) continue;
    if (typeof value !== "number") return refused(keyword, `${keyword} must be a number.`);
    bounds[keyword] = value;
  }
  return integer ? ofIntegers(bounds) : ofNumbers(bounds);
}

function ofIntegers(given: Partial<Record<Keyword, number>>): BoundsReading {
  const { minimum = -Infinity, exclusiveMinimum = -Infinity, maximum = Infinity, exclusiveMaximum = Infinity } = given;
  // For very large doubles, adding one changes nothing. Such bounds exceed every number that a grammar writes.
  const min = Math.max(Math.ceil(minimum), Math.floor(exclusiveMinimum) + 1);
  const max = Math.min(Math.floor(maximum), Math.ceil(exclusiveMaximum) - 1);
  const lower = exclusiveMinimum > minimum ? "exclusiveMinimum" : "minimum";
  const upper = exclusiveMaximum < maximum ? "exclusiveMaximum" : "maximum";
  if (max < min) return refused(upper, `There is no whole number between ${lower} and ${upper}.`);
  if (min > MAX_INTEGER) return refused(lower, TOO_FAR, CHECK);
  if (max < -MAX_INTEGER) return refused(upper, TOO_FAR, CHECK);
  const bounds = { ...openBounds(min, max), aboveMin: false, belowMax: false };
  return { ok: true, bounds: bounds.min === null && bounds.max === null ? null : bounds };
}

function ofNumbers(given: Partial<Record<Keyword, number>>): BoundsReading {
  const { minimum = -Infinity, exclusiveMinimum = -Infinity, maximum = Infinity, exclusiveMaximum = Infinity } = given;
  const [aboveMin, belowMax] = [exclusiveMinimum >= minimum, exclusiveMaximum <= maximum];
  const [min, max] = [Math.max(minimum, exclusiveMinimum), Math.min(maximum, exclusiveMaximum)];
  const [lower, upper] = [
    aboveMin ? "exclusiveMinimum" : "minimum",
    belowMax ? "exclusiveMaximum" : "maximum",
  ] as const;
  if (max < min || (max === min && (aboveMin || belowMax))) {
    return refused(upper, `There is no number between ${lower} and ${upper}.`);
  }
  if (min <= -BEYOND_NUMBERS && max >= BEYOND_NUMBERS) return { ok: true, bounds: null };
  if (min > -MAX_INTEGER && !isWritten(min)) return refused(lower, NOT_WHOLE, CHECK);
  if (max < MAX_INTEGER && !isWritten(max)) return refused(upper, NOT_WHOLE, CHECK);
  // Nothing that a grammar writes is beyond the largest number.
  if (aboveMin && min === MAX_INTEGER) return refused(lower, TOO_FAR, CHECK);
  if (belowMax && max === -MAX_INTEGER) return refused(upper, TOO_FAR, CHECK);
  const bounds = {
    min: min < -MAX_INTEGER || (min === -MAX_INTEGER && !aboveMin) ? null : min,
    max: max > MAX_INTEGER || (max === MAX_INTEGER && !belowMax) ? null : max,
  };
  return {
    ok: true,
    bounds: { ...bounds, aboveMin: bounds.min !== null && aboveMin, belowMax: bounds.max !== null && belowMax },
  };
}

const isWritten = (bound: number) => Number.isInteger(bound) && Math.abs(bound) <= MAX_INTEGER;

function openBounds(min: number, max: number): Pick<Bounds, "min" | "max"> {
  return { min: min <= -MAX_INTEGER ? null : min, max: max >= MAX_INTEGER ? null : max };
}

const TOO_FAR = `Numbers with bounds have at most ${INTEGER_DIGITS} digits, and this bound excludes all of them.`;
const NOT_WHOLE = `A bound of a number is supported only if it is a whole number of at most ${INTEGER_DIGITS} digits.`;
const CHECK = "Use such a bound, or type integer, or leave the bound out and check the answer.";

function refused(keyword: Keyword, message: string, remedy: string | null = null): BoundsReading {
  return { ok: false, keyword, message, remedy };
}
