import { desc } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { type WorkerTokenRow, workerTokens } from "../../schema/db/workers.ts";

/** Newest first. */
export async function listTokens(d1: D1Database): Promise<WorkerTokenRow[]> {
  return drizzle(d1).select().from(workerTokens).orderBy(desc(workerTokens.createdAtMs), workerTokens.id);
}
