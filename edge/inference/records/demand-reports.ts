import { LIMITS } from "../../../schema/wire/limits.ts";
import type { ServingWorker } from "../../workers/serving-worker.ts";
import { UnservedDemand } from "../jobs/unserved-demand-tracker.ts";

/**
 * Sends workers the frame `elsewhere` when clients ask for models that they do not serve, at most once per
 * `LIMITS.demandReportMs`.
 */
export class DemandReports {
  readonly #demand = new UnservedDemand();
  readonly #send: (connection: string, jobs: number) => void;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(send: (connection: string, jobs: number) => void) {
    this.#send = send;
  }

  connected(worker: ServingWorker): void {
    // Workers of protocol v1 do not know the frame.
    if (worker.minor >= 1) this.#demand.connected(worker);
  }

  disconnected(connection: string): void {
    this.#demand.disconnected(connection);
  }

  /** A request arrived. `model` is null for a name that no worker ever gave. */
  requested(model: string | null): void {
    this.#demand.requested(model);
    if (!this.#demand.hasListeners) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      for (const { connection, jobs } of this.#demand.takeReports()) this.#send(connection, jobs);
    }, LIMITS.demandReportMs);
  }
}
