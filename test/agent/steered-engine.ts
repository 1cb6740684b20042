import type {
  Engine,
  EngineMeter,
  GenerationEvent,
  GenerationJob,
  ModelOffer,
} from "../../worker-agent/engine/engine.ts";

/** An engine whose events a test sends one by one, to look at the session between two tokens. */
export class SteeredEngine implements Engine {
  readonly kind = "upstream";
  /** The running jobs, the oldest first. */
  readonly runs: SteeredRun[] = [];
  meter: EngineMeter | null = null;
  readonly #slots: number;
  #waiting: (() => void) | null = null;

  constructor(slots = 2) {
    this.#slots = slots;
  }

  models(): readonly ModelOffer[] {
    return [{ name: "steered", sha256: null, slots: this.#slots, contextTokens: 100, kinds: ["chat", "completion"] }];
  }

  async *generate(job: GenerationJob, signal: AbortSignal): AsyncGenerator<GenerationEvent, void, undefined> {
    const run = new SteeredRun(job, signal);
    this.runs.push(run);
    this.#waiting?.();
    this.meter?.generationStarted();
    try {
      yield* run.events();
    } finally {
      this.runs.splice(this.runs.indexOf(run), 1);
      this.meter?.generationEnded();
      run.over();
    }
  }

  async dispose(): Promise<void> {}

  /** Waits for a run and returns the oldest. */
  async nextRun(): Promise<SteeredRun> {
    for (;;) {
      const [run] = this.runs;
      if (run !== undefined) return run;
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }
}

export class SteeredRun {
  readonly job: GenerationJob;
  readonly ended: Promise<void>;
  /** If true, the run continues after an abort, like an engine in the middle of a long step. */
  stubborn = false;
  /** The number of events that the session has read. */
  pulled = 0;
  readonly #signal: AbortSignal;
  readonly #queue: GenerationEvent[] = [];
  #wake: () => void = () => {};
  #resolveEnded: () => void = () => {};

  constructor(job: GenerationJob, signal: AbortSignal) {
    this.job = job;
    this.#signal = signal;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    signal.addEventListener("abort", () => this.#wake());
  }

  emit(...events: GenerationEvent[]): void {
    this.#queue.push(...events);
    this.#wake();
  }

  release(): void {
    this.stubborn = false;
    this.#wake();
  }

  text(...texts: string[]): void {
    this.emit(...texts.map((text): GenerationEvent => ({ type: "text", text, tokens: 1 })));
  }

  end(completionTokens: number): void {
    this.emit({ type: "end", finishReason: "stop", usage: { promptTokens: 3, completionTokens } });
  }

  async *events(): AsyncGenerator<GenerationEvent, void, undefined> {
    for (;;) {
      if (this.#signal.aborted && !this.stubborn) return;
      const event = this.#queue.shift();
      if (event === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      this.pulled++;
      yield event;
      if (event.type === "end" || event.type === "failed") return;
    }
  }

  over(): void {
    this.#resolveEnded();
  }
}
