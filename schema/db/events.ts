import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/**
 * The pool's log (docs/spec/events.md#events): append-only, which triggers of its migration hold. `EventLog` decides; this is the record
 * that is queried. `bytes`, `pubkey`, `signature` and `contentId` are the event as it travels; the rest is read off it,
 * or says how it came here.
 */
export const events = sqliteTable("events", {
  /** In the whole log, from 1 on. */
  seq: integer().primaryKey(),
  /** Hex SHA-256 of the bytes. */
  contentId: text("content_id").notNull().unique(),
  type: text().notNull(),
  /** Atom id of its author. */
  origin: text().notNull(),
  visibility: text({ enum: ["private", "direct", "peers", "public"] }).notNull(),
  /** Its number in the audience, where it is part of it. */
  publicSeq: integer("public_seq").unique(),
  peersSeq: integer("peers_seq").unique(),
  /** Of the whole log, up to this event. */
  chain: text().notNull(),
  hlcPhysicalUs: integer("hlc_physical_us").notNull(),
  hlcLogical: integer("hlc_logical").notNull(),
  /** Base64 of the canonical bytes. */
  bytes: text().notNull(),
  pubkey: text().notNull(),
  signature: text().notNull(),
  /** How often it may still be passed on. */
  ttl: integer().notNull(),
  /** Atom id of the peer that brought it; null when we wrote it. */
  receivedFrom: text("received_from"),
  takenAtMs: integer("taken_at_ms").notNull(),
});

/**
 * Signed checkpoints that are kept as evidence: ours, now and then, and of others the two by which one proved to tell two
 * stories. They are of one place in one log and differ, so both have room here.
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
