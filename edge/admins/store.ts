import { desc } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { type AdminTokenRow, adminTokens } from "../../schema/db/admin-tokens.ts";

/** Newest first. */
export async function listAdminTokens(d1: D1Database): Promise<AdminTokenRow[]> {
  return drizzle(d1).select().from(adminTokens).orderBy(desc(adminTokens.createdAtMs), adminTokens.id);
}
