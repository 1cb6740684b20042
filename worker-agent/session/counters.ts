import * as z from "zod";
import type { EngineMeter } from "../engine/engine.ts";

const count = z.int().nonnegative();

/** What the agent has done since it started; persisted in `status.json` for the owner and for tests. */
export const counterValues = z.object({
  jobsStarted: count,
  jobsDone: count,
  jobsFailed: count,
  /** Cancelled or superseded by the pool, or lost with their socket. */
  jobsCancelled: count,
  /** Jobs whose engine computes at this moment. */
  activeGenerations: count,
  tokensGenerated: count,
  /** Computed, not found again from an earlier turn of the conversation. */
  promptTokensEvaluated: count,
  connections: count,
});
type CounterValues = z.infer<typeof counterValues>;

/** Counts, and says that something changed; what is done about it is the listener's business. */
export class Counters implements EngineMeter {
  readonly #onChange: () => void;
  readonly #values: CounterValues = {
    jobsStarted: 0,
    jobsDone: 0,
    jobsFailed: 0,
    jobsCancelled: 0,
    activeGenerations: 0,
    tokensGenerated: 0,
    promptTokensEvaluated: 0,
    connections: 0,
  };

  constructor(onChange: () => void = () => {}) {
    this.#onChange = onChange;
  }

  get values(): Readonly<CounterValues> {
    return { ...this.#values };
  }

  count(what: Exclude<keyof CounterValues, "activeGenerations">, by = 1): void {
    this.#values[what] += by;
    this.#onChange();
  }

  generationStarted(): void {
    this.#values.activeGenerations++;
    this.#onChange();
  }

  promptEvaluated(tokens: number): void {
    this.count("promptTokensEvaluated", tokens);
  }

  tokensGenerated(count: number): void {
    this.count("tokensGenerated", count);
  }

  generationEnded(): void {
    this.#values.activeGenerations--;
    this.#onChange();
  }
}
