import { and, eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { metering } from "../../schema/db/metering.ts";

/** How a job of this key ended; undefined if there is no such job, or if it belongs to another key. */
export async function findEndedJob(d1: D1Database, id: string, keyId: string) {
  const [row] = await drizzle(d1)
    .select({ id: metering.jobId, state: metering.outcome })
    .from(metering)
    .where(and(eq(metering.jobId, id), eq(metering.keyId, keyId)))
    .limit(1);
  return row;
}
