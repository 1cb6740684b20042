/**
 * What clients ask of others, so that a worker without jobs can be told whether nobody asks at all (docs/spec/workers.md#socket-protocol). Pure;
 * it begins anew when its lane wakes, for workers and requests alike.
 */
export interface Listener {
  readonly connection: string;
  readonly models: readonly { readonly name: string }[];
}

export class Elsewhere {
  #asked = 0;
  /** By names that workers gave, whose number the lane bounds. */
  readonly #askedByModel = new Map<string, number>();
  /** By connection, with what each has heard of. */
  readonly #listeners = new Map<string, { readonly worker: Listener; heard: number }>();

  get hasListeners(): boolean {
    return this.#listeners.size > 0;
  }

  /** A request came; null for a name that no worker ever gave. */
  asked(model: string | null): void {
    this.#asked += 1;
    if (model !== null) this.#askedByModel.set(model, (this.#askedByModel.get(model) ?? 0) + 1);
  }

  came(worker: Listener): void {
    this.#listeners.set(worker.connection, { worker, heard: this.#elsewhere(worker) });
  }

  went(connection: string): void {
    this.#listeners.delete(connection);
  }

  /** What is to be told now: how many requests came for others than this connection, since it was last told. */
  news(): { connection: string; jobs: number }[] {
    return [...this.#listeners].flatMap(([connection, listener]) => {
      const all = this.#elsewhere(listener.worker);
      const jobs = all - listener.heard;
      listener.heard = all;
      return jobs > 0 ? [{ connection, jobs }] : [];
    });
  }

  #elsewhere({ models }: Listener): number {
    return this.#asked - models.reduce((sum, { name }) => sum + (this.#askedByModel.get(name) ?? 0), 0);
  }
}
