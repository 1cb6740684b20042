import { OperatorError } from "../runtime/operator-error.ts";
import { counted } from "./numbers.ts";
import { printable } from "./table.ts";

const LEAST_CHARS = 6;

/**
 * Pure: the one id that begins so, for an id need not be typed whole. What none begins with stays as it was given: the
 * pool refuses it in its own words.
 */
export function wholeId(given: string, noun: string, all: readonly { id: string }[]): string {
  if (given.length < LEAST_CHARS || all.some(({ id }) => id === given)) return given;
  const found = all.filter(({ id }) => id.startsWith(given.toLowerCase()));
  if (found.length > 1) {
    throw new OperatorError(
      `${counted(found.length, noun)} have ids that begin with ${printable(given)}. Say more of it.`,
    );
  }
  return found[0]?.id ?? given;
}
