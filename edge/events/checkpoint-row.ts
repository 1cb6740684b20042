import { hash } from "node:crypto";
import { canonicalBytes } from "../../schema/crypto/canonical.ts";
import type { CheckpointRow } from "../../schema/db/events.ts";
import type { SignedCheckpoint } from "../../schema/wire/events.ts";

/**
 * A checkpoint as a row of D1. Its id is the hash of the signed content, so a checkpoint that is stored twice is one
 * row.
 */
export function checkpointRow(
  { checkpoint, origin_pubkey, signature }: SignedCheckpoint,
  takenAtMs: number,
): CheckpointRow {
  const { origin, log_id, audience, seq, chain, hlc } = checkpoint;
  return {
    id: hash("sha256", canonicalBytes(checkpoint)),
    origin,
    logId: log_id,
    audience,
    seq,
    chain,
    hlcPhysicalUs: hlc.physical_us,
    hlcLogical: hlc.logical,
    pubkey: origin_pubkey,
    signature,
    takenAtMs,
  };
}
