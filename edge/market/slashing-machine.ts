/**
 * The life of a slashing event (docs/spec/market.md#slashing-events): evidence against a worker, or a disputed amount, that an
 * admin entered. While one is `pending` or `contested`, it blocks actions that heed slashing.
 */
import type { SlashingStatus } from "../../schema/wire/market.ts";

export type SlashingStep =
  /** `isNews`: a new row follows. The same change again is no error, and adds no row. */
  | { readonly ok: true; readonly status: SlashingStatus; readonly isNews: boolean }
  | { readonly ok: false; readonly code: "slashing/closed" };

export function isOpen(status: SlashingStatus): boolean {
  return status === "pending" || status === "contested";
}

/** Open events may be contested, settled or dismissed. Nothing reopens a closed one: new evidence is a new event. */
export function changeSlashing(from: SlashingStatus, to: Exclude<SlashingStatus, "pending">): SlashingStep {
  if (from === to) return { ok: true, status: from, isNews: false };
  return isOpen(from) ? { ok: true, status: to, isNews: true } : { ok: false, code: "slashing/closed" };
}
