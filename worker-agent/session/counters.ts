import * as z from "zod";
import type { EngineMeter } from "../engine/engine.ts";

const count = z.int().nonnegative();

/** Counts since the agent started. Persisted in `status.json`. */
export const counterValues = z.object({
  jobsStarted: count,
  jobsDone: count,
  jobsFailed: count,
  /** Cancelled or superseded by the pool, or aborted when the socket was lost. */
  jobsCancelled: count,
  /** Jobs that an engine is computing now. */
  activeGenerations: count,
  tokensGenerated: count,
  /** Prompt tokens that were computed. Tokens reused from an earlier turn of the conversation do not count. */
  promptTokensEvaluated: count,
  connections: count,
});
type CounterValues = z.infer<typeof counterValues>;

/** The agent's counters. Calls `onChange` after each change. */
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
