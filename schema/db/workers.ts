import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/** Worker tokens (docs/spec/workers.md#enrolment). The lane that serves a token decides; this copy is for queries. */
export const workerTokens = sqliteTable(
  "worker_tokens",
  {
    id: text().primaryKey(),
    label: text().notNull(),
    /** Lowercase hex SHA-256 of the token's secret part. The token itself is stored nowhere. */
    secretSha256: text("secret_sha256").notNull(),
    lane: text().notNull(),
    addedBy: text("added_by").notNull(),
    approvedBy: text("approved_by").notNull(),
    createdAtMs: integer("created_at_ms").notNull(),
    expiresAtMs: integer("expires_at_ms").notNull(),
    /** The first worker that used the token. No other worker may use it. */
    workerId: text("worker_id"),
    revokedBy: text("revoked_by"),
    revokedAtMs: integer("revoked_at_ms"),
  },
  (table) => [index("worker_tokens_created").on(table.createdAtMs)],
);

/** All workers that ever connected, with their last signed manifest. */
export const workers = sqliteTable("workers", {
  id: text().primaryKey(),
  publicKey: text("public_key").notNull(),
  tokenId: text("token_id").notNull(),
  agentVersion: text("agent_version").notNull(),
  /** JCS of the manifest, and its signature in base64. */
  manifest: text().notNull(),
  manifestSignature: text("manifest_signature").notNull(),
  lastConnectedAtMs: integer("last_connected_at_ms").notNull(),
});

export type WorkerRow = typeof workers.$inferSelect;
export type WorkerTokenRow = typeof workerTokens.$inferSelect;

/** Workers that an admin has excluded from jobs. The lane decides; this copy is for queries. */
export const workerBans = sqliteTable("worker_bans", {
  workerId: text("worker_id").primaryKey(),
  bannedBy: text("banned_by").notNull(),
  bannedAtMs: integer("banned_at_ms").notNull(),
  /** For admins. Erasable: the log has only its salted hash. */
  note: text(),
  noteSalt: text("note_salt"),
  pardonedBy: text("pardoned_by"),
  pardonedAtMs: integer("pardoned_at_ms"),
});
export type WorkerBanRow = typeof workerBans.$inferSelect;
