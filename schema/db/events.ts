import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/**
 * The pool's log (docs/spec/events.md#the-log). It is append-only: triggers of its migration enforce that. `EventLog`
 * decides; this copy is for queries. `bytes`, `pubkey`, `signature` and `contentId` are the event in wire form. The
 * other columns repeat parts of it, or describe how it arrived.
 */
export const events = sqliteTable(
  "events",
  {
    /** The event's number in the whole log, from 1. */
    seq: integer().primaryKey(),
    /** Hex SHA-256 of the bytes. */
    contentId: text("content_id").notNull().unique(),
    type: text().notNull(),
    /** Atom id of its author. */
    origin: text().notNull(),
    visibility: text({ enum: ["private", "direct", "peers", "public"] }).notNull(),
    /** The event's number in this audience; null if the event does not belong to it. */
    publicSeq: integer("public_seq").unique(),
    peersSeq: integer("peers_seq").unique(),
    /** The chain of the whole log up to this event. */
    chain: text().notNull(),
    hlcPhysicalUs: integer("hlc_physical_us").notNull(),
    hlcLogical: integer("hlc_logical").notNull(),
    /** Base64 of the canonical bytes. */
    bytes: text().notNull(),
    pubkey: text().notNull(),
    signature: text().notNull(),
    /** How often the event may still be relayed. */
    ttl: integer().notNull(),
    /** Atom id of the peer that sent it; null for an event of this pool. */
    receivedFrom: text("received_from"),
    takenAtMs: integer("taken_at_ms").notNull(),
  },
  // The newest events of a type, for audits.
  (table) => [index("events_type").on(table.type, table.seq)],
);

/**
 * Signed checkpoints that are kept as evidence: our own from time to time, and both checkpoints of a peer that prove its
 * equivocation. Those two have the same log, audience and number, so the primary key is the hash of the content.
 */
export const checkpoints = sqliteTable(
  "checkpoints",
  {
    /** Hex SHA-256 of the checkpoint's JCS. */
    id: text().primaryKey(),
    origin: text().notNull(),
    logId: text("log_id").notNull(),
    audience: text({ enum: ["all", "public", "peers"] }).notNull(),
    seq: integer().notNull(),
    chain: text().notNull(),
    hlcPhysicalUs: integer("hlc_physical_us").notNull(),
    hlcLogical: integer("hlc_logical").notNull(),
    pubkey: text().notNull(),
    signature: text().notNull(),
    takenAtMs: integer("taken_at_ms").notNull(),
  },
  (table) => [index("checkpoints_place").on(table.origin, table.logId, table.audience, table.seq)],
);

export type EventRow = typeof events.$inferSelect;
export type CheckpointRow = typeof checkpoints.$inferSelect;
