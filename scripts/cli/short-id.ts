import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { pluralize } from "../../worker-agent/cli/shared/pluralize.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";

const LEAST_CHARS = 6;

const WHOLE_ID = /^[0-9a-f]{16}$/;

/** The id of what is meant. A whole one is taken as it is: the pool may not be able to list its record, and still revoke. */
export async function idOf(
  given: string,
  noun: string,
  list: () => Promise<readonly { id: string }[]>,
): Promise<string> {
  return WHOLE_ID.test(given) ? given : wholeId(given, noun, await list());
}

/** What a person who revoked something is told, where D1 does not have it yet. */
export function notRecorded({ recorded }: { recorded?: boolean | undefined }): string {
  return recorded === false ? " It holds. The pool's record (D1) cannot be reached now, and gets it later." : "";
}

/**
 * Pure: the one id that begins so, for an id need not be typed whole. What none begins with stays as it was given: the
 * pool refuses it in its own words.
 */
export function wholeId(given: string, noun: string, all: readonly { id: string }[]): string {
  if (given.length < LEAST_CHARS || all.some(({ id }) => id === given)) return given;
  const found = all.filter(({ id }) => id.startsWith(given.toLowerCase()));
  if (found.length > 1) {
    throw new OperatorError(
      `${pluralize(found.length, noun)} have ids that begin with ${printable(given)}. Say more of it.`,
    );
  }
  return found[0]?.id ?? given;
}
