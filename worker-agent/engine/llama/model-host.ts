import type {
  EmbeddingEvent,
  EmbeddingJob,
  Engine,
  GenerationEvent,
  GenerationJob,
  JobFailure,
  ModelOffer,
} from "../engine.ts";
import { type LoadedModelUse, planEviction } from "./residency-rules.ts";

/** A model that this machine can serve, whether or not it is in memory. */
export interface HostedModel {
  /** Known before the model is loaded. */
  readonly offer: ModelOffer;
  /** The estimated memory of the model and of its jobs' contexts. */
  readonly bytes: number;
  /** @param signal cancels loading */
  load(signal?: AbortSignal): Promise<LoadedModel>;
}

export type LoadedModel =
  | { readonly ok: true; readonly engine: Engine }
  | { readonly ok: false; readonly message: string };

export interface ModelHostOptions {
  readonly models: readonly HostedModel[];
  readonly limitBytes: number;
  readonly onStep: (step: string) => void;
  readonly onWarning: (message: string) => void;
  /** Releases what the models shared, after all of them are unloaded. */
  readonly releaseRuntime: () => Promise<void>;
}

interface Hosted {
  readonly model: HostedModel;
  engine: Engine | null;
  running: number;
  lastUse: number;
}

interface Waiting {
  readonly hosted: Hosted;
  readonly signal: AbortSignal;
  readonly resolve: (turn: Turn) => void;
}

type Turn =
  | { readonly type: "run"; readonly engine: Engine }
  | { readonly type: "failed" }
  /** The job was aborted before its turn. */
  | { readonly type: "aborted" };

/**
 * Serves several models and keeps as many in memory as the limit allows (`residency-rules.ts`). A job whose model is not
 * in memory waits until the model is loaded; meanwhile the session sends `progress` frames to the pool.
 *
 * Jobs run in the order of their arrival, so that a busy model cannot block another model forever: while a job waits for
 * running jobs to end, later jobs wait behind it. While a model is being loaded, jobs of the loaded models start.
 */
export class ModelHost implements Engine {
  readonly kind = "llama";
  readonly #options: ModelHostOptions;
  readonly #hosted: ReadonlyMap<string, Hosted>;
  readonly #closing = new AbortController();
  #waiting: Waiting[] = [];
  #loading: Promise<void> | null = null;
  #useCount = 0;

  constructor(options: ModelHostOptions) {
    this.#options = options;
    this.#hosted = new Map(
      options.models.map((model) => [model.offer.name, { model, engine: null, running: 0, lastUse: 0 }]),
    );
  }

  models(): readonly ModelOffer[] {
    return [...this.#hosted.values()].map(({ model }) => model.offer);
  }

  /** The names of the models in memory. */
  loaded(): readonly string[] {
    return this.#loadedModels().map(({ name }) => name);
  }

  /** Loads models in their order while they fit. Stops at the first failure, so that a starting worker reports it. */
  async preload(
    signal: AbortSignal,
  ): Promise<{ readonly ok: true } | { readonly ok: false; readonly message: string }> {
    for (const hosted of this.#hosted.values()) {
      const plan = planEviction(hosted.model.bytes, this.#loadedModels(), this.#options.limitBytes);
      if (plan.type === "busy" || plan.unload.length > 0) continue;
      const loaded = await hosted.model.load(signal);
      if (!loaded.ok) return loaded;
      hosted.engine = loaded.engine;
    }
    return { ok: true };
  }

  async *generate(job: GenerationJob, signal: AbortSignal): AsyncGenerator<GenerationEvent, void, undefined> {
    yield* this.#run(job.model, signal, (engine) => engine.generate(job, signal));
  }

  async *embed(job: EmbeddingJob, signal: AbortSignal): AsyncGenerator<EmbeddingEvent, void, undefined> {
    yield* this.#run(
      job.model,
      signal,
      (engine) =>
        engine.embed?.(job, signal) ?? [failed("http/unsupported-parameter", "This model makes no embeddings.", false)],
    );
  }

  async dispose(): Promise<void> {
    this.#closing.abort();
    this.#advance();
    await this.#loading;
    for (const hosted of this.#hosted.values()) await hosted.engine?.dispose();
    await this.#options.releaseRuntime();
  }

  async *#run<Event>(
    name: string,
    signal: AbortSignal,
    run: (engine: Engine) => AsyncIterable<Event> | Iterable<Event>,
  ): AsyncGenerator<Event | ReturnType<typeof failed>, void, undefined> {
    const hosted = this.#hosted.get(name);
    if (hosted === undefined) {
      yield failed("inference/model-not-found", "This worker does not have that model.", true);
      return;
    }
    const turn = await this.#turn(hosted, AbortSignal.any([signal, this.#closing.signal]));
    if (turn.type === "failed") yield failed("inference/engine-failed", "The model could not be loaded now.", true);
    if (turn.type !== "run") return;
    try {
      yield* run(turn.engine);
    } finally {
      hosted.running--;
      this.#advance();
    }
  }

  #turn(hosted: Hosted, signal: AbortSignal): Promise<Turn> {
    return new Promise((resolve) => {
      this.#waiting.push({ hosted, signal, resolve });
      signal.addEventListener("abort", () => this.#advance(), { once: true });
      this.#advance();
    });
  }

  /** Starts every waiting job that may start now, and loads the next model if one is needed. */
  #advance(): void {
    for (const { resolve } of this.#waiting.filter(({ signal }) => signal.aborted)) resolve({ type: "aborted" });
    this.#waiting = this.#waiting.filter(({ signal }) => !signal.aborted);

    while (this.#loading === null) {
      const next = this.#waiting[0];
      if (next === undefined) return;
      if (next.hosted.engine === null) {
        const plan = planEviction(next.hosted.model.bytes, this.#loadedModels(), this.#options.limitBytes);
        if (plan.type === "busy") return;
        this.#loading = this.#load(next.hosted, plan.unload).then(() => {
          this.#loading = null;
          this.#advance();
        });
      } else this.#grant(next, next.hosted.engine);
    }
    // Memory for the model that is being loaded is free already, so jobs of the other models can start.
    for (const waiting of [...this.#waiting]) {
      if (waiting.hosted.engine !== null) this.#grant(waiting, waiting.hosted.engine);
    }
  }

  #grant(waiting: Waiting, engine: Engine): void {
    const { hosted, resolve } = waiting;
    this.#waiting = this.#waiting.filter((it) => it !== waiting);
    hosted.running++;
    hosted.lastUse = ++this.#useCount;
    resolve({ type: "run", engine });
  }

  async #load(hosted: Hosted, unload: readonly string[]): Promise<void> {
    const { name } = hosted.model.offer;
    for (const other of unload) {
      this.#options.onStep(`unloading ${other} to make room for ${name}`);
      const unloaded = this.#hosted.get(other);
      const engine = unloaded?.engine;
      if (unloaded !== undefined) unloaded.engine = null;
      // If unloading fails, its memory stays in use, but the host can still serve.
      await engine?.dispose().catch((error: unknown) => {
        this.#options.onWarning(`${other} could not be unloaded: ${String(error)}`);
      });
    }
    const loaded = await hosted.model
      .load()
      .catch((error: unknown) => ({ ok: false, message: String(error) }) as const);
    if (loaded.ok) {
      hosted.engine = loaded.engine;
      // Counts as a use, so that the model is not unloaded before its first job.
      hosted.lastUse = ++this.#useCount;
      return;
    }
    this.#options.onWarning(loaded.message);
    const waiting = this.#waiting.filter((it) => it.hosted === hosted);
    this.#waiting = this.#waiting.filter((it) => it.hosted !== hosted);
    for (const { resolve } of waiting) resolve({ type: "failed" });
  }

  #loadedModels(): LoadedModelUse[] {
    return [...this.#hosted.values()]
      .filter(({ engine }) => engine !== null)
      .map(({ model, running, lastUse }) => ({ name: model.offer.name, bytes: model.bytes, running, lastUse }));
  }
}

const failed = (code: JobFailure, message: string, retryable: boolean) =>
  ({ type: "failed", code, message, retryable }) as const;
