/** Slashing events (docs/spec/market.md#slashing-events): bodies and answers of `/admin/api/slashing`. */
import * as z from "zod";
import { atomId } from "./events.ts";
import { LIMITS } from "./limits.ts";
import { unicodeText } from "./worker-frames.ts";

export const slashingStatus = z.enum(["pending", "contested", "settled", "dismissed"]);
export type SlashingStatus = z.infer<typeof slashingStatus>;

export const slashingChange = z.enum(["contest", "settle", "dismiss"]);
export type SlashingVerb = z.infer<typeof slashingChange>;

/** Kept for ever: the table is append-only. */
const reason = unicodeText.min(1).max(LIMITS.adminNoteChars);

export const addSlashingBody = z.strictObject({
  /** The worker's id; absent for an event about no worker. */
  worker: atomId.optional(),
  /** Micro-credits. */
  amount_micro: z.int().positive().optional(),
  reason,
});
export const changeSlashingBody = z.strictObject({ reason });

export const slashingView = z.strictObject({
  slashing_id: z.string(),
  /** The number of changes, from 1. */
  version: z.int().positive(),
  status: slashingStatus,
  worker: z.string().nullable(),
  amount_micro: z.int().nullable(),
  reason: z.string(),
  entered_by: z.string(),
  entered_at_ms: z.int().nonnegative(),
});
export type SlashingView = z.infer<typeof slashingView>;
export const slashingList = z.strictObject({ slashing: z.array(slashingView) });
/** `recorded: false`: the change holds, and D1 does not have it yet. */
export const changedSlashing = slashingView.extend({ recorded: z.literal(false).optional() });
