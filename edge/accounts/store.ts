import { count, desc, sum } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { type ClientKeyRow, clientKeys } from "../../schema/db/client-keys.ts";
import { metering } from "../../schema/db/metering.ts";

export interface KeyUsage {
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
}

/** The newest keys, by id. */
export async function newestKeys(d1: D1Database, limit: number): Promise<string[]> {
  const keys = drizzle(d1).select({ id: clientKeys.id }).from(clientKeys);
  return (await keys.orderBy(desc(clientKeys.createdAtMs), clientKeys.id).limit(limit)).map(({ id }) => id);
}

/** Newest first, with what each key has used since it was made. */
export async function listKeysWithUsage(d1: D1Database): Promise<{ key: ClientKeyRow; usage: KeyUsage }[]> {
  const db = drizzle(d1);
  const [keys, used] = await db.batch([
    db.select().from(clientKeys).orderBy(desc(clientKeys.createdAtMs), clientKeys.id),
    db
      .select({
        keyId: metering.keyId,
        requests: count(),
        promptTokens: sum(metering.promptTokens).mapWith(Number),
        completionTokens: sum(metering.completionTokens).mapWith(Number),
      })
      .from(metering)
      .groupBy(metering.keyId),
  ]);
  const byKey = new Map(used.map((row) => [row.keyId, row]));
  return keys.map((key) => {
    const row = byKey.get(key.id);
    return {
      key,
      usage: {
        requests: row?.requests ?? 0,
        prompt_tokens: row?.promptTokens ?? 0,
        completion_tokens: row?.completionTokens ?? 0,
      },
    };
  });
}
