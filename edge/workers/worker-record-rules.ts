/** When a worker that connects is news for the record: a reconnect alone is not. Pure: the time comes in. */
import type { WorkerRow } from "../../schema/db/workers.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { BoundedMap } from "../limits/bounded-map.ts";

type Written = Pick<WorkerRow, "tokenId" | "agentVersion" | "manifestSignature" | "lastConnectedAtMs">;

/** In memory: after a restart each worker's record is written once more. */
export class WorkerRecords {
  readonly #written = new BoundedMap<string, Written>(LIMITS.socketsPerLane);

  /** Whether to write this row; then it counts as written. The signature stands for the manifest: Ed25519 is deterministic. */
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
