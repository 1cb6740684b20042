import { foreignError } from "../../../schema/wire/admin-requests.ts";
import { peerError } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Why a peer refuses. */
export interface Refusal {
  /** Null: a pool of the existing network has no codes. */
  readonly code: string | null;
  /** The peer's own words, for our admin: bounded, and safe to print. Empty: it said none. */
  readonly words: string;
}

/**
 * The refusal in the body of an answer, in our form or in that of the existing network (`{"error": "text"}`). Null: the
 * body has none.
 */
export function refusalIn(body: unknown): Refusal | null {
  const ours = peerError.safeParse(body).data?.error;
  if (ours !== undefined) return { code: ours.code, words: shown(ours.message ?? "") };
  const foreign = foreignError.safeParse(body).data;
  return foreign === undefined ? null : { code: null, words: shown(foreign.error) };
}

/** The words go to terminals and tables: no control characters, no bidirectional overrides. */
function shown(text: string): string {
  return text
    .slice(0, LIMITS.adminNoteChars)
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");
}
