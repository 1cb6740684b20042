import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/** Client keys. The key's `Account` decides and applies its limits; this copy is for queries. */
export const clientKeys = sqliteTable(
  "client_keys",
  {
    id: text().primaryKey(),
    label: text().notNull(),
    /** Lowercase hex SHA-256 of the key's secret part. The key itself is stored nowhere. */
    secretSha256: text("secret_sha256").notNull(),
    requestsPerMinute: integer("requests_per_minute").notNull(),
    tokensPerMinute: integer("tokens_per_minute").notNull(),
    streams: integer().notNull(),
    createdBy: text("created_by").notNull(),
    createdAtMs: integer("created_at_ms").notNull(),
    revokedBy: text("revoked_by"),
    revokedAtMs: integer("revoked_at_ms"),
  },
  (table) => [index("client_keys_created").on(table.createdAtMs)],
);

export type ClientKeyRow = typeof clientKeys.$inferSelect;
