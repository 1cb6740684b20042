/** Decides when the record of a connecting worker is written to D1, so that not every reconnection writes. */
import type { WorkerRow } from "../../schema/db/workers.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { BoundedMap } from "../limits/bounded-map.ts";

type Written = Pick<WorkerRow, "tokenId" | "agentVersion" | "manifestSignature" | "lastConnectedAtMs">;

/** In memory only. After a restart each worker's record is written once more. */
export class WorkerRecords {
  readonly #written = new BoundedMap<string, Written>(LIMITS.socketsPerLane);

  /**
   * Whether to write this row, which then counts as written. Equal signatures mean equal manifests, because Ed25519 is
   * deterministic.
   */
  isNews({ id, tokenId, agentVersion, manifestSignature, lastConnectedAtMs }: WorkerRow): boolean {
    const before = this.#written.get(id);
    const isSame =
      before?.tokenId === tokenId &&
      before.agentVersion === agentVersion &&
      before.manifestSignature === manifestSignature &&
      Math.abs(lastConnectedAtMs - before.lastConnectedAtMs) < LIMITS.workerRecordMs;
    if (isSame) return false;
    this.#written.set(id, { tokenId, agentVersion, manifestSignature, lastConnectedAtMs });
    return true;
  }
}
