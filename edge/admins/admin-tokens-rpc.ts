/** The interfaces of `AdminTokens`: one for each group of callers. Types only. */
import type { MintedKey } from "../../schema/crypto/api-keys.ts";
import type { AdminTokenRow } from "../../schema/db/admin-tokens.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import type { EventPayload } from "../../schema/wire/event-registry.ts";
import type { HeldRecords } from "../record/record-outbox.ts";

export type AdminTokenChange = { ok: true; row: AdminTokenRow } | { ok: false; code: ErrorCode };

/** The parts of a minted token that are stored. */
export type MintedRecord = Pick<MintedKey, "id" | "secretSha256">;

/** The admin who acts. The record gets the name; the log gets the token's id, because no name can be erased from it. */
export interface ActingAdmin {
  name: string;
  tokenId: string;
}

export interface RevokedToken {
  /** When the token was first refused, epoch ms. A rotation refuses it too. */
  revokedAtMs: number;
  /** The tokens that were good until now: this token, or the last of those that replaced it. */
  revokedNow: string[];
  /** Whether D1 has the revocation already. If not, it follows. */
  recorded: boolean;
}

/** Every request with an admin token. */
export interface AdminTokensForAuthentication extends Rpc.DurableObjectBranded {
  /** The name of the token's holder; null for a token that is unknown or revoked. */
  nameOf(id: string, secretSha256: string): string | null;
}

export interface AdminTokensForAdmins extends Rpc.DurableObjectBranded {
  /** Stores a new token. The caller has minted it and shows it once. */
  create(minted: MintedRecord, name: string, by: ActingAdmin): Promise<AdminTokenChange>;
  /** Replaces a good token by a new one, in one step. */
  rotate(id: string, minted: MintedRecord, by: ActingAdmin): Promise<AdminTokenChange>;
  /**
   * Refuses the token, and every token that replaced it, from now on: a thief may have rotated the token, and only the
   * thief knows the new one. Null where there is no such token.
   */
  revoke(id: string, by: ActingAdmin): Promise<RevokedToken | null>;
  /** Stores exported tokens. If one of them exists here with other content, stores nothing and returns false. */
  restore(rows: AdminTokenRow[]): Promise<boolean>;
  /** Records in the event log that an admin imported rows. Durable before it answers. */
  recordImport(payload: EventPayload<"record_imported">): Promise<void>;
}

export interface AdminTokensForReaders extends Rpc.DurableObjectBranded {
  heldRecords(): HeldRecords;
  /** How many events the event log has not confirmed. */
  pendingEvents(): number;
}

export interface AdminTokensRpc extends AdminTokensForAuthentication, AdminTokensForAdmins, AdminTokensForReaders {}
