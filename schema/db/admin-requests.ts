import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/**
 * Requests between admins of two pools (docs/spec/federation.md#admin-requests), in both directions. The peer's `Bond`
 * decides, and keeps the result; this copy is for queries.
 */
export const adminRequests = sqliteTable(
  "admin_requests",
  {
    /** `received:` or `sent:`, the peer's atom id, `:` and the request id, which is unique only for its peer. */
    id: text().primaryKey(),
    direction: text({ enum: ["received", "sent"] }).notNull(),
    peer: text().notNull(),
    requestId: text("request_id").notNull(),
    action: text().notNull(),
    /** JSON object. */
    params: text().notNull(),
    status: text({
      enum: [
        "sending",
        "pending",
        "blocked",
        "approved",
        "rejected",
        "expired",
        "executed",
        "executed_no_callback",
        "failed",
        "refused",
      ],
    }).notNull(),
    createdAtMs: integer("created_at_ms").notNull(),
    expiresAtMs: integer("expires_at_ms").notNull(),
    decidedAtMs: integer("decided_at_ms"),
    /** Name of the admin of this pool who decided about a received request, or sent one. */
    admin: text(),
    /** Why the action or the request failed. */
    error: text(),
    /**
     * Texts of people, which an admin can erase. The log has their SHA-256, salted, so that erasing a text leaves the
     * log's chain valid (docs/spec/events.md#events).
     */
    email: text(),
    emailSalt: text("email_salt"),
    note: text(),
    noteSalt: text("note_salt"),
  },
  (table) => [
    index("admin_requests_created").on(table.createdAtMs),
    index("admin_requests_status").on(table.status, table.createdAtMs),
  ],
);

export type AdminRequestRow = typeof adminRequests.$inferSelect;
