import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/** Pools that proved their key here (docs/spec/federation.md#registration). The peer's `Bond` decides; this copy is for queries. */
export const peers = sqliteTable(
  "peers",
  {
    /** Lowercase hex SHA-256 of `publicKey`. The key of an id never changes. */
    id: text().primaryKey(),
    publicKey: text("public_key").notNull(),
    name: text().notNull(),
    /** The URL (an origin) at which the peer can be reached. */
    url: text().notNull(),
    /** JSON array of strings. */
    capabilities: text().notNull(),
    authTier: text("auth_tier", { enum: ["oauth-verified", "device-bound", "hardware-attested"] }).notNull(),
    /** Levels of docs/spec/federation.md#trust. */
    granted: integer().notNull(),
    received: integer().notNull(),
    effective: integer().notNull(),
    awaitsAdmin: integer("awaits_admin"),
    addedByAdmin: integer("added_by_admin", { mode: "boolean" }).notNull(),
    /** The admin who last decided about the peer; null if none did. */
    decidedBy: text("decided_by"),
    signatureVersion: integer("signature_version").notNull(),
    circuit: text({ enum: ["closed", "open", "half-open"] }).notNull(),
    addedAtMs: integer("added_at_ms").notNull(),
    seenAtMs: integer("seen_at_ms"),
    revokedAtMs: integer("revoked_at_ms"),
    /** When the peer was removed. The row stays, so that a removed peer gains nothing by registering again. */
    removedAtMs: integer("removed_at_ms"),
  },
  (table) => [index("peers_effective").on(table.effective)],
);

export type PeerRow = typeof peers.$inferSelect;
