import { LIMITS } from "../../../schema/wire/limits.ts";
import { type LaneMetrics, restoreMetrics } from "./lane-metrics.ts";

/** Stores the counts of a lane, so that they survive hibernation. It writes at most once a second, after answers. */
export class MetricsStore {
  readonly measured: LaneMetrics;
  readonly #storage: DurableObjectStorage;
  #saveTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.measured = restoreMetrics(storage.kv.get<LaneMetrics>("metrics"));
  }

  saveSoon(): void {
    this.#saveTimer ??= setTimeout(() => {
      this.#saveTimer = null;
      this.#storage.kv.put("metrics", this.measured);
    }, LIMITS.metricsSaveMs);
  }
}
