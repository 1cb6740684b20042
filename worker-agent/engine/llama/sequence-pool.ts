import type { LlamaContext, LlamaContextSequence, Token } from "node-llama-cpp";

/**
 * Gives each job one sequence of a context. Waiting jobs get a sequence in the order of their arrival. A job gets the free
 * sequence whose cached tokens share the longest prefix with its prompt, so that a conversation continues on its own past.
 */
export class SequencePool {
  readonly #context: LlamaContext;
  #free: LlamaContextSequence[];
  #waiting: { tokens: readonly Token[]; grant: (sequence: LlamaContextSequence) => void }[] = [];

  constructor(context: LlamaContext) {
    this.#context = context;
    this.#free = Array.from({ length: context.totalSequences }, () => context.getSequence());
  }

  /** Returns null if the signal aborts first. */
  async acquire(tokens: readonly Token[], signal: AbortSignal): Promise<LlamaContextSequence | null> {
    if (signal.aborted) return null;
    const free = this.#takeFree(tokens);
    if (free !== null) return free;
    return new Promise((resolve) => {
      const onAbort = () => {
        this.#waiting = this.#waiting.filter((it) => it !== waiter);
        resolve(null);
      };
      const grant = (sequence: LlamaContextSequence) => {
        signal.removeEventListener("abort", onAbort);
        resolve(sequence);
      };
      const waiter = { tokens, grant };
      this.#waiting.push(waiter);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** @param intact false if the job failed in the middle: the sequence's state is then discarded */
  async release(sequence: LlamaContextSequence, intact: boolean): Promise<void> {
    if (intact || sequence.disposed) this.#free.push(sequence);
    else {
      await sequence.dispose();
      this.#free.push(this.#context.getSequence());
    }
    const next = this.#waiting.shift();
    if (next === undefined) return;
    const free = this.#takeFree(next.tokens);
    if (free === null) this.#waiting.unshift(next);
    else next.grant(free);
  }

  #takeFree(tokens: readonly Token[]): LlamaContextSequence | null {
    let best: { sequence: LlamaContextSequence; shared: number } | null = null;
    for (const sequence of this.#free) {
      const shared = sequence.compareContextTokens([...tokens]).firstDifferentIndex;
      // On a tie take the sequence that was released first, so that recent conversations stay cached longest.
      if (best === null || shared > best.shared) best = { sequence, shared };
    }
    if (best === null) return null;
    const { sequence } = best;
    this.#free = this.#free.filter((it) => it !== sequence);
    return sequence;
  }
}
