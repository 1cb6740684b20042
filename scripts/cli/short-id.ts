import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { printable } from "../../worker-agent/cli/shared/table.ts";
import { pluralize } from "../../worker-agent/pluralize.ts";

const LEAST_CHARS = 6;

const COMPLETE_ID = /^[0-9a-f]{16}$/;

/** Completes an id. A complete id is used as it is: a pool may be able to revoke while it cannot list its record. */
export async function idOf(
  given: string,
  noun: string,
  list: () => Promise<readonly { id: string }[]>,
): Promise<string> {
  return COMPLETE_ID.test(given) ? given : completeId(given, noun, await list());
}

/** A note for a change that is in force but not yet in D1. */
export function notRecorded({ recorded }: { recorded?: boolean | undefined }): string {
  return recorded === false
    ? " The change is in force. The pool's record (D1) is unreachable and receives the change later."
    : "";
}

/**
 * The id that begins with the given text. If there is none, the text stays as it is and the pool refuses it.
 */
export function completeId(given: string, noun: string, all: readonly { id: string }[]): string {
  if (given.length < LEAST_CHARS || all.some(({ id }) => id === given)) return given;
  const matches = all.filter(({ id }) => id.startsWith(given.toLowerCase()));
  if (matches.length > 1) {
    throw new OperatorError(
      `${pluralize(matches.length, noun)} have ids that begin with ${printable(given)}. Give more characters.`,
    );
  }
  return matches[0]?.id ?? given;
}
