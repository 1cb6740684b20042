/**
 * Counts the requests for models that a worker does not serve. The pool sends the count to the worker as the frame
 * `elsewhere` (docs/spec/workers.md#socket-protocol). An idle worker can then tell whether the pool is idle or its
 * clients ask for other models. The counts start at 0 when the lane wakes up.
 */
export interface DemandListener {
  readonly connection: string;
  readonly models: readonly { readonly name: string }[];
}

export class UnservedDemand {
  #requests = 0;
  /** Only names that workers gave, whose number the lane bounds. */
  readonly #requestsByModel = new Map<string, number>();
  /** The listeners by connection. `reported`: the count of the last report. */
  readonly #listeners = new Map<string, { readonly worker: DemandListener; reported: number }>();

  get hasListeners(): boolean {
    return this.#listeners.size > 0;
  }

  /** A request arrived. `model` is null for a name that no worker ever gave. */
  requested(model: string | null): void {
    this.#requests += 1;
    if (model !== null) this.#requestsByModel.set(model, (this.#requestsByModel.get(model) ?? 0) + 1);
  }

  connected(worker: DemandListener): void {
    this.#listeners.set(worker.connection, { worker, reported: this.#unservedBy(worker) });
  }

  disconnected(connection: string): void {
    this.#listeners.delete(connection);
  }

  /**
   * For each connection whose count has changed: the requests for models that it does not serve, since its last report.
   */
  takeReports(): { connection: string; jobs: number }[] {
    return [...this.#listeners].flatMap(([connection, listener]) => {
      const unserved = this.#unservedBy(listener.worker);
      const jobs = unserved - listener.reported;
      listener.reported = unserved;
      return jobs > 0 ? [{ connection, jobs }] : [];
    });
  }

  #unservedBy({ models }: DemandListener): number {
    return this.#requests - models.reduce((sum, { name }) => sum + (this.#requestsByModel.get(name) ?? 0), 0);
  }
}
