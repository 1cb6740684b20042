import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

/**
 * One row for each job, written when the job has ended (docs/spec/inference.md#a-jobs-life,
 * docs/spec/workers.md#metering). The table is append-only. The pool bounds the counts; the signed record has the
 * worker's claim. Prompts and answers are not stored, only their hashes inside the record.
 */
export const metering = sqliteTable(
  "metering",
  {
    jobId: text("job_id").primaryKey(),
    keyId: text("key_id").notNull(),
    workerId: text("worker_id"),
    model: text().notNull(),
    kind: text({ enum: ["chat", "completion", "embedding"] }).notNull(),
    outcome: text({ enum: ["done", "failed", "cancelled", "expired"] }).notNull(),
    /** The error code when the outcome is not `done`. */
    code: text(),
    promptTokens: integer("prompt_tokens").notNull(),
    completionTokens: integer("completion_tokens").notNull(),
    claimedPromptTokens: integer("claimed_prompt_tokens"),
    claimedCompletionTokens: integer("claimed_completion_tokens"),
    /** What is wrong with the record, comma-separated: `clamped`, `bad-signature`, `mismatch`. */
    flags: text().notNull(),
    attempts: integer().notNull(),
    queuedMs: integer("queued_ms").notNull(),
    acceptedAtMs: integer("accepted_at_ms").notNull(),
    endedAtMs: integer("ended_at_ms").notNull(),
    /** JCS of the worker's signed record, and the signature in base64; null if the worker signed nothing. */
    record: text(),
    signature: text(),
  },
  (table) => [
    index("metering_key").on(table.keyId, table.endedAtMs),
    index("metering_worker").on(table.workerId, table.endedAtMs),
  ],
);

export type MeteringRow = typeof metering.$inferSelect;
