import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/** Named admin tokens. `AdminTokens` decides; this copy is for queries. */
export const adminTokens = sqliteTable(
  "admin_tokens",
  {
    id: text().primaryKey(),
    /** The audit columns of other tables hold this name when the token's holder acts. */
    name: text().notNull(),
    /** Lowercase hex SHA-256 of the token's secret part. The token itself is stored nowhere. */
    secretSha256: text("secret_sha256").notNull(),
    createdBy: text("created_by").notNull(),
    createdAtMs: integer("created_at_ms").notNull(),
    revokedBy: text("revoked_by"),
    revokedAtMs: integer("revoked_at_ms"),
  },
  (table) => [index("admin_tokens_created").on(table.createdAtMs)],
);

export type AdminTokenRow = typeof adminTokens.$inferSelect;
