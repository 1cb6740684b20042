/** Calls that wait for the next commit of the log. */
export class CommitListeners {
  readonly #listeners = new Set<() => void>();

  /** Resolves at the next commit, or after `waitMs`. */
  next(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#listeners.delete(done);
        resolve();
      };
      const timer = setTimeout(done, waitMs);
      this.#listeners.add(done);
    });
  }

  notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
