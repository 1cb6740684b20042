/** The interfaces of `SlashingBook`: one for each group of callers. Types only. */
import type { SlashingEventRow } from "../../schema/db/economy.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import type { SlashingStatus } from "../../schema/wire/market.ts";
import type { ActingAdmin } from "../admins/admin-tokens-rpc.ts";

export interface OpenSlashing {
  readonly slashing_id: string;
  readonly status: "pending" | "contested";
}

export interface NewSlashing {
  readonly worker: string | null;
  readonly amountMicro: number | null;
  readonly reason: string;
}

export type SlashingChange =
  | { readonly ok: true; readonly row: SlashingEventRow; readonly recorded: boolean }
  | { readonly ok: false; readonly code: ErrorCode };

export interface SlashingForAdmins extends Rpc.DurableObjectBranded {
  add(slashing: NewSlashing, by: ActingAdmin): Promise<SlashingChange>;
  /** Adds a row with the new state. The same change again adds none. */
  change(
    slashingId: string,
    to: Exclude<SlashingStatus, "pending">,
    reason: string,
    by: ActingAdmin,
  ): Promise<SlashingChange>;
}

/** Guards of actions that heed slashing. */
export interface SlashingForGuards extends Rpc.DurableObjectBranded {
  /** The slashing events that are pending or contested now, the oldest first. */
  open(): OpenSlashing[];
}

export interface SlashingForReaders extends Rpc.DurableObjectBranded {
  /** The newest row of each slashing event, the newest event first. */
  list(onlyOpen: boolean, limit: number): SlashingEventRow[];
}

export interface SlashingRpc extends SlashingForAdmins, SlashingForGuards, SlashingForReaders {}
