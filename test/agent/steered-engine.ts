import type {
  Engine,
  EngineMeter,
  GenerationEvent,
  GenerationJob,
  ModelOffer,
} from "../../worker-agent/engine/engine.ts";

/** An engine whose every event a test decides: the session's behaviour between two tokens can be looked at. */
export class SteeredEngine implements Engine {
  readonly kind = "upstream";
  /** Jobs that run, oldest first. */
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

  /** The oldest run, once there is one. */
  async run(): Promise<SteeredRun> {
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
  /** True: goes on after an abort, as an engine in the middle of a long step does. */
  stubborn = false;
  /** Events that the session has asked for. */
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

  say(...events: GenerationEvent[]): void {
    this.#queue.push(...events);
    this.#wake();
  }

  letGo(): void {
    this.stubborn = false;
    this.#wake();
  }

  text(...texts: string[]): void {
    this.say(...texts.map((text): GenerationEvent => ({ type: "text", text, tokens: 1 })));
  }

  end(completionTokens: number): void {
    this.say({ type: "end", finishReason: "stop", usage: { promptTokens: 3, completionTokens } });
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
