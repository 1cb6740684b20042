import { createSelectSchema } from "drizzle-zod";
import { adminName } from "../wire/admin-api.ts";
import { adminTokens } from "./admin-tokens.ts";
import { clientKeys } from "./client-keys.ts";
import { events } from "./events.ts";
import { metering } from "./metering.ts";
import { peers } from "./peers.ts";
import { workers, workerTokens } from "./workers.ts";

/** Whole rows as they travel in an export, by table; in the order in which an import takes them. */
export const RECORD_ROWS = {
  admin_tokens: createSelectSchema(adminTokens, { name: adminName }),
  client_keys: createSelectSchema(clientKeys),
  worker_tokens: createSelectSchema(workerTokens),
  workers: createSelectSchema(workers),
  peers: createSelectSchema(peers),
  metering: createSelectSchema(metering),
  events: createSelectSchema(events),
} as const;
