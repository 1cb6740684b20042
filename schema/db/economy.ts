import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/**
 * Economic tables (docs/spec/federation.md#the-wallet-rule). They are append-only: triggers of their migration refuse
 * UPDATE, DELETE and the replacement of a row, so that a change of state is a new row. Only `slashing_events` is written
 * yet.
 */

/** Every change of a slashing event. The row with the highest `version` of a `slashing_id` is its state. */
export const slashingEvents = sqliteTable(
  "slashing_events",
  {
    /** `slashing_id`, `:` and `version`. */
    id: text().primaryKey(),
    slashingId: text("slashing_id").notNull(),
    /** From 1. */
    version: integer().notNull(),
    status: text({ enum: ["pending", "contested", "settled", "dismissed"] }).notNull(),
    /** The worker that the event is about; null if it is about none. */
    worker: text(),
    /** Micro-credits; a positive amount. Null while no amount is set. */
    amountMicro: integer("amount_micro"),
    reason: text().notNull(),
    /** Name of the admin who entered this row. */
    enteredBy: text("entered_by").notNull(),
    enteredAtMs: integer("entered_at_ms").notNull(),
  },
  (table) => [index("slashing_events_of").on(table.slashingId, table.version)],
);
export type SlashingEventRow = typeof slashingEvents.$inferSelect;

/** What the pool earned. */
export const revenueLedger = sqliteTable("revenue_ledger", {
  id: text().primaryKey(),
  account: text().notNull(),
  amountMicro: integer("amount_micro").notNull(),
  reference: text().notNull(),
  enteredAtMs: integer("entered_at_ms").notNull(),
});

/** What of the pool's revenue belongs to a worker. */
export const workerShares = sqliteTable("worker_shares", {
  id: text().primaryKey(),
  worker: text().notNull(),
  amountMicro: integer("amount_micro").notNull(),
  reference: text().notNull(),
  enteredAtMs: integer("entered_at_ms").notNull(),
});

/** Payments between this pool and a peer or a worker. */
export const settlements = sqliteTable("settlements", {
  id: text().primaryKey(),
  party: text().notNull(),
  amountMicro: integer("amount_micro").notNull(),
  reference: text().notNull(),
  enteredAtMs: integer("entered_at_ms").notNull(),
});
