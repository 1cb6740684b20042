import type { Env } from "../../env.ts";
import type { OpenSlashing } from "./request-shapes.ts";

/** Slashing events that are pending or contested now. */
export async function openSlashings(_env: Env): Promise<OpenSlashing[]> {
  return [];
}
