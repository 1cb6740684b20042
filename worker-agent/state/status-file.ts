import * as z from "zod";
import { counterValues } from "../session/counters.ts";
import { writeFileAtomically } from "./files.ts";

const timeMs = z.int().nonnegative();

/** Persisted in `status.json`: what `worker status` shows, and what tests wait for. Documented in README.md beside. */
export const agentStatus = z.object({
  v: z.literal(1),
  pid: z.int().positive(),
  agentVersion: z.string(),
  state: z.enum(["loading", "connecting", "connected", "draining", "stopped"]),
  connected: z.boolean(),
  /** Atom id. */
  pool: z.string(),
  poolUrl: z.string(),
  worker: z.string(),
  models: z.array(
    z.object({
      name: z.string(),
      slots: z.int().positive(),
      contextTokens: z.int().positive(),
      /** Jobs that run now. */
      active: z.int().nonnegative(),
      /** Jobs that the pool sent. */
      jobs: z.int().nonnegative(),
      /** When a job of it began or ended last. */
      lastJobMs: timeMs.nullable(),
    }),
  ),
  startedMs: timeMs,
  updatedMs: timeMs,
  connectedSinceMs: timeMs.nullable(),
  /** Set while it waits to connect again. */
  nextAttemptMs: timeMs.nullable(),
  lastDisconnect: z.object({ atMs: timeMs, reason: z.string() }).nullable(),
  lastJob: z
    .object({
      model: z.string(),
      startedMs: timeMs,
      endedMs: timeMs.nullable(),
      end: z.enum(["done", "failed", "cancelled"]).nullable(),
    })
    .nullable(),
  /** The last job that failed here, and why; no word of its request. */
  lastFailure: z
    .object({ atMs: timeMs, model: z.string(), code: z.string(), message: z.string() })
    .nullable()
    // A worker that runs since before an upgrade does not write it.
    .default(null),
  /** A job that this worker turned down: no such model, or no free slot. */
  lastRefusal: z.object({ atMs: timeMs, model: z.string(), message: z.string() }).nullable(),
  /** Requests for models that it does not serve, since it connected or its last job ended. Null: the pool does not say. */
  elsewhere: z.object({ jobs: z.int().nonnegative(), lastMs: timeMs.nullable() }).nullable().default(null),
  /** How it ended; a pool that refuses the token is told here. */
  stopped: z.object({ code: z.string(), message: z.string() }).nullable(),
  counters: counterValues,
});
export type AgentStatus = Readonly<z.infer<typeof agentStatus>>;

/** While numbers change the file is at most this old. */
const EVERY_MS = 250;

/** Writes status to a file: numbers at most four times a second, all else at once. A full disk does not stop the agent. */
export class StatusFile {
  readonly #path: string;
  readonly #snapshot: () => AgentStatus;
  readonly #onError: (message: string) => void;
  #timer: NodeJS.Timeout | null = null;
  #stale = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, snapshot: () => AgentStatus, onError: (message: string) => void) {
    this.#path = path;
    this.#snapshot = snapshot;
    this.#onError = onError;
  }

  /** Who waits for a worker to be connected reads the file just then: `atOnce` is for what seldom changes. */
  changed({ atOnce = false } = {}): void {
    if (this.#timer !== null) {
      if (atOnce) this.#write();
      else this.#stale = true;
      return;
    }
    this.#write();
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#stale) this.changed();
    }, EVERY_MS);
  }

  /** The last word: what is true now, and nothing after it. */
  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#write();
    await this.#writing;
  }

  #write(): void {
    this.#stale = false;
    this.#writing = this.#writing
      .then(() => writeFileAtomically(this.#path, `${JSON.stringify(this.#snapshot(), null, 2)}\n`))
      .catch((error: unknown) => this.#onError(`The status file could not be written: ${String(error)}`));
  }
}
