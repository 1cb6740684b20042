import type { LlamaContext, LlamaContextSequence, Token } from "node-llama-cpp";

/**
 * The sequences of one context, lent to one job each. Who waits is served in order; who is served gets the free
 * sequence that already holds the longest beginning of its prompt (a conversation finds its own past again).
 */
export class Sequences {
  readonly #context: LlamaContext;
  #free: LlamaContextSequence[];
  #waiting: { tokens: readonly Token[]; grant: (sequence: LlamaContextSequence) => void }[] = [];

  constructor(context: LlamaContext) {
    this.#context = context;
    this.#free = Array.from({ length: context.totalSequences }, () => context.getSequence());
  }

  /** Null when the signal aborted first. */
  async borrow(tokens: readonly Token[], signal: AbortSignal): Promise<LlamaContextSequence | null> {
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

  /** @param intact false when the sequence failed in the middle: its state is then thrown away. */
  async giveBack(sequence: LlamaContextSequence, intact: boolean): Promise<void> {
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
      // The one given back longest ago wins a tie, so that fresh conversations stay in memory longest.
      if (best === null || shared > best.shared) best = { sequence, shared };
    }
    if (best === null) return null;
    const { sequence } = best;
    this.#free = this.#free.filter((it) => it !== sequence);
    return sequence;
  }
}
