import { adminTokens } from "./admin-tokens.ts";
import { clientKeys } from "./client-keys.ts";
import { checkpoints, events } from "./events.ts";
import { metering } from "./metering.ts";
import { peers } from "./peers.ts";
import { workers, workerTokens } from "./workers.ts";

/**
 * What an object may write to D1 through its outbox (docs/spec/pool.md#shape, rule 4). `once` rows are append-only: a repeat is
 * skipped. `latest` rows are whole replacements by primary key, flushed in the order they were committed. `log` rows are
 * append-only where the table's own triggers refuse a repeat: the very row that is there already (by primary key and
 * `sameBy`) is not sent again, and one that says otherwise of its place is refused.
 */
export const RECORD_TABLES = {
  admin_tokens: { table: adminTokens, primaryKey: adminTokens.id, mode: "latest" },
  client_keys: { table: clientKeys, primaryKey: clientKeys.id, mode: "latest" },
  worker_tokens: { table: workerTokens, primaryKey: workerTokens.id, mode: "latest" },
  workers: { table: workers, primaryKey: workers.id, mode: "latest" },
  metering: { table: metering, primaryKey: metering.jobId, mode: "once" },
  events: { table: events, primaryKey: events.seq, sameBy: events.contentId, mode: "log" },
  peers: { table: peers, primaryKey: peers.id, mode: "latest" },
  checkpoints: { table: checkpoints, primaryKey: checkpoints.id, mode: "once" },
} as const;

export type RecordTableName = keyof typeof RECORD_TABLES;
export type RecordRow<Name extends RecordTableName> = (typeof RECORD_TABLES)[Name]["table"]["$inferInsert"];
