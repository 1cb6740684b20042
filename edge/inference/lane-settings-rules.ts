/** The operator's settings of a lane: variables of wrangler.toml, or flags of `npm start`. */
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";

export interface LaneSettings {
  /** How long the status of a whole answer waits for the answer or its failure. */
  readonly statusHoldMs: number;
  /** The model that `auto` means for embeddings; null: the first served model by name. */
  readonly embeddingModel: string | null;
}

/**
 * Reads the settings. A hold outside its range becomes the nearest allowed value. Text that is not a number means the
 * default.
 */
export function resolveLaneSettings(env: Pick<Env, "STATUS_HOLD_SECONDS" | "EMBEDDING_MODEL">): LaneSettings {
  const given = env.STATUS_HOLD_SECONDS?.trim() || undefined;
  const seconds = Number(given ?? LIMITS.statusHoldSeconds);
  const held = Number.isFinite(seconds) ? seconds : LIMITS.statusHoldSeconds;
  const { statusHoldMinSeconds: min, statusHoldMaxSeconds: max } = LIMITS;
  return {
    statusHoldMs: Math.min(max, Math.max(min, held)) * 1_000,
    embeddingModel: env.EMBEDDING_MODEL?.trim() || null,
  };
}
