import type {
  EmbeddingEvent,
  EmbeddingJob,
  Engine,
  GenerationEvent,
  GenerationJob,
  JobFailure,
  ModelOffer,
} from "../engine.ts";
import { type Resident, roomFor } from "./residency-rules.ts";

/** A model that this machine can serve, in memory or not. */
export interface HostedModel {
  /** What is promised of it before it is loaded. */
  readonly offer: ModelOffer;
  /** Estimated: of the model and of its jobs' contexts. */
  readonly bytes: number;
  /** @param signal gives up loading */
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
  /** Gives back what the models shared. */
  readonly afterAll: () => Promise<void>;
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
  /** The job was given up before its turn came. */
  | { readonly type: "aborted" };

/**
 * Several models on one machine, of which as many are in memory as the limit allows (`residency-rules.ts`). A job whose model
 * is not there waits for it; meanwhile the session tells the pool that the job is worked on.
 *
 * Jobs get their turn in the order in which they came, so that a busy model cannot keep another one out for ever: while
 * a job waits for running ones to end, later ones wait behind it. While a model is loaded the others go on.
 */
export class ModelHost implements Engine {
  readonly kind = "llama";
  readonly #options: ModelHostOptions;
  readonly #hosted: ReadonlyMap<string, Hosted>;
  readonly #closing = new AbortController();
  #waiting: Waiting[] = [];
  #loading: Promise<void> | null = null;
  #uses = 0;

  constructor(options: ModelHostOptions) {
    this.#options = options;
    this.#hosted = new Map(
      options.models.map((model) => [model.offer.name, { model, engine: null, running: 0, lastUse: 0 }]),
    );
  }

  models(): readonly ModelOffer[] {
    return [...this.#hosted.values()].map(({ model }) => model.offer);
  }

  /** Names of the models that are in memory now. */
  loaded(): readonly string[] {
    return this.#residents().map(({ name }) => name);
  }

  /** Loads models in their order while they fit. The first failure ends it: a worker that starts says what is wrong. */
  async preload(
    signal: AbortSignal,
  ): Promise<{ readonly ok: true } | { readonly ok: false; readonly message: string }> {
    for (const hosted of this.#hosted.values()) {
      const room = roomFor(hosted.model.bytes, this.#residents(), this.#options.limitBytes);
      if (room.type === "busy" || room.unload.length > 0) continue;
      const loaded = await hosted.model.load(signal);
      if (!loaded.ok) return loaded;
      hosted.engine = loaded.engine;
    }
    return { ok: true };
  }

  async *generate(job: GenerationJob, signal: AbortSignal): AsyncGenerator<GenerationEvent, void, undefined> {
    yield* this.#use(job.model, signal, (engine) => engine.generate(job, signal));
  }

  async *embed(job: EmbeddingJob, signal: AbortSignal): AsyncGenerator<EmbeddingEvent, void, undefined> {
    yield* this.#use(
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
    await this.#options.afterAll();
  }

  async *#use<Event>(
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

  /** Gives everybody a turn whose turn it is. */
  #advance(): void {
    for (const { resolve } of this.#waiting.filter(({ signal }) => signal.aborted)) resolve({ type: "aborted" });
    this.#waiting = this.#waiting.filter(({ signal }) => !signal.aborted);

    while (this.#loading === null) {
      const next = this.#waiting[0];
      if (next === undefined) return;
      if (next.hosted.engine === null) {
        const room = roomFor(next.hosted.model.bytes, this.#residents(), this.#options.limitBytes);
        if (room.type === "busy") return;
        this.#loading = this.#load(next.hosted, room.unload).then(() => {
          this.#loading = null;
          this.#advance();
        });
      } else this.#grant(next, next.hosted.engine);
    }
    // The model that is loaded has its room: jobs of those that stay take nothing from it.
    for (const waiting of [...this.#waiting]) {
      if (waiting.hosted.engine !== null) this.#grant(waiting, waiting.hosted.engine);
    }
  }

  #grant(waiting: Waiting, engine: Engine): void {
    const { hosted, resolve } = waiting;
    this.#waiting = this.#waiting.filter((it) => it !== waiting);
    hosted.running++;
    hosted.lastUse = ++this.#uses;
    resolve({ type: "run", engine });
  }

  async #load(hosted: Hosted, unload: readonly string[]): Promise<void> {
    const { name } = hosted.model.offer;
    for (const other of unload) {
      this.#options.onStep(`unloading ${other} to make room for ${name}`);
      const leaving = this.#hosted.get(other);
      const engine = leaving?.engine;
      if (leaving !== undefined) leaving.engine = null;
      // What it holds is then held on; that is no reason to serve nothing more.
      await engine?.dispose().catch((error: unknown) => {
        this.#options.onWarning(`${other} could not be unloaded: ${String(error)}`);
      });
    }
    const loaded = await hosted.model
      .load()
      .catch((error: unknown) => ({ ok: false, message: String(error) }) as const);
    if (loaded.ok) {
      hosted.engine = loaded.engine;
      // Until its first job it is not the one to go.
      hosted.lastUse = ++this.#uses;
      return;
    }
    this.#options.onWarning(loaded.message);
    const waited = this.#waiting.filter((it) => it.hosted === hosted);
    this.#waiting = this.#waiting.filter((it) => it.hosted !== hosted);
    for (const { resolve } of waited) resolve({ type: "failed" });
  }

  #residents(): Resident[] {
    return [...this.#hosted.values()]
      .filter(({ engine }) => engine !== null)
      .map(({ model, running, lastUse }) => ({ name: model.offer.name, bytes: model.bytes, running, lastUse }));
  }
}

const failed = (code: JobFailure, message: string, retryable: boolean) =>
  ({ type: "failed", code, message, retryable }) as const;
