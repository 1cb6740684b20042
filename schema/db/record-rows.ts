import { createSelectSchema } from "drizzle-zod";
import type * as z from "zod";
import { adminName } from "../wire/admin-api.ts";
import { adminTokens } from "./admin-tokens.ts";
import { clientKeys } from "./client-keys.ts";
import { events } from "./events.ts";
import { metering } from "./metering.ts";
import { peers } from "./peers.ts";
import { workers, workerTokens } from "./workers.ts";

/** ECMAScript's latest time. A row with a later time could not be displayed. */
const LATEST_MS = 8_640_000_000_000_000;
const time = (column: z.ZodInt) => column.nonnegative().max(LATEST_MS);

/** The rows of an export, by table, in the order in which an import takes them. */
export const RECORD_ROWS = {
  admin_tokens: createSelectSchema(adminTokens, { name: adminName, createdAtMs: time, revokedAtMs: time }),
  client_keys: createSelectSchema(clientKeys, { createdAtMs: time, revokedAtMs: time }),
  worker_tokens: createSelectSchema(workerTokens, { createdAtMs: time, expiresAtMs: time, revokedAtMs: time }),
  workers: createSelectSchema(workers, { lastConnectedAtMs: time }),
  peers: createSelectSchema(peers, { addedAtMs: time, seenAtMs: time, revokedAtMs: time, removedAtMs: time }),
  metering: createSelectSchema(metering, { acceptedAtMs: time, endedAtMs: time }),
  events: createSelectSchema(events, { takenAtMs: time }),
} as const;
