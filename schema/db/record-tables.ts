import { adminRequests } from "./admin-requests.ts";
import { adminTokens } from "./admin-tokens.ts";
import { clientKeys } from "./client-keys.ts";
import { slashingEvents } from "./economy.ts";
import { checkpoints, events } from "./events.ts";
import { metering } from "./metering.ts";
import { peers } from "./peers.ts";
import { workerBans, workers, workerTokens } from "./workers.ts";

/**
 * The tables that an object may write through its outbox (docs/spec/pool.md#shape, rule 4), each in one of three modes:
 * - `once`: append-only; a repeat is skipped.
 * - `latest`: a row replaces the row with its primary key, in the order of the commits.
 * - `log`: append-only, and the table's triggers refuse a repeat. A row that is there with the same primary key and `sameBy`
 *   is not sent again; a different row with the same primary key is refused.
 */
export const RECORD_TABLES = {
  admin_tokens: { table: adminTokens, primaryKey: adminTokens.id, mode: "latest" },
  client_keys: { table: clientKeys, primaryKey: clientKeys.id, mode: "latest" },
  worker_tokens: { table: workerTokens, primaryKey: workerTokens.id, mode: "latest" },
  workers: { table: workers, primaryKey: workers.id, mode: "latest" },
  metering: { table: metering, primaryKey: metering.jobId, mode: "once" },
  events: { table: events, primaryKey: events.seq, sameBy: events.contentId, mode: "log" },
  peers: { table: peers, primaryKey: peers.id, mode: "latest" },
  admin_requests: { table: adminRequests, primaryKey: adminRequests.id, mode: "latest" },
  worker_bans: { table: workerBans, primaryKey: workerBans.workerId, mode: "latest" },
  slashing_events: { table: slashingEvents, primaryKey: slashingEvents.id, sameBy: slashingEvents.status, mode: "log" },
  checkpoints: { table: checkpoints, primaryKey: checkpoints.id, mode: "once" },
} as const;

export type RecordTableName = keyof typeof RECORD_TABLES;
export type RecordRow<Name extends RecordTableName> = (typeof RECORD_TABLES)[Name]["table"]["$inferInsert"];
