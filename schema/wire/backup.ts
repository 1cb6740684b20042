import * as z from "zod";
import { LIMITS } from "./limits.ts";

/** The answers of `/admin/api/export` and the body of `/admin/api/import`. `schema/db/record-rows.ts` has the shapes of rows. */
const row = z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]));
export const recordTable = z.enum([
  "admin_tokens",
  "client_keys",
  "worker_tokens",
  "workers",
  "peers",
  "metering",
  "events",
]);
export type RecordTable = z.infer<typeof recordTable>;
export type BackupRow = z.infer<typeof row>;

export const rowsOfTable = z.strictObject({ table: recordTable, rows: z.array(row).max(LIMITS.backupPageRows) });

export const poolSettings = z.strictObject({
  name: z.string(),
  description: z.string(),
  defaults: z.strictObject({ requests_per_minute: z.int(), tokens_per_minute: z.int(), streams: z.int() }),
});

/** The export without metering and events. Those follow in pages, and their rows up to `until` never change. */
export const exportHead = z.strictObject({
  atom_id: z.string(),
  settings: poolSettings,
  tables: z.strictObject({
    admin_tokens: z.array(row),
    client_keys: z.array(row),
    worker_tokens: z.array(row),
    workers: z.array(row),
    peers: z.array(row),
  }),
  metering: z.strictObject({ until: z.int(), rows: z.int() }),
  events: z.strictObject({ until: z.int(), rows: z.int() }),
});

export const rowsPage = z.strictObject({ rows: z.array(row), next: z.int().nullable() });
