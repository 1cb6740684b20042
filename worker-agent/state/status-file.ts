import * as z from "zod";
import { counterValues } from "../session/counters.ts";
import { writeFileAtomically } from "./files.ts";

const timeMs = z.int().nonnegative();

/** Persisted in `status.json`: `worker status` shows it, and tests wait for it. README.md beside this file documents it. */
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

/** The shortest time between two writes, by what changed since the last one. */
const PAUSE_MS = Object.freeze({
  /** Programs and tests wait for a worker to be connected. */
  state: 0,
  /** A busy worker ends hundreds of jobs a second; one write serves all that end meanwhile. */
  event: 20,
  /** Tokens are counted one by one. */
  numbers: 250,
});

/** A disk that hangs must not silence the log, nor fill the memory with lines. */
const HELD_LINES = 1_000;

interface HeldLine {
  /** Number of the change that the file must hold first. */
  readonly change: number;
  readonly tell: () => void;
}

/**
 * Writes the status to a file, and holds each line of the log back until the file holds what the line tells: a reader
 * may look at either first. A full disk stops neither the agent nor its log.
 */
export class StatusFile {
  readonly #path: string;
  readonly #snapshot: () => AgentStatus;
  readonly #onError: (message: string) => void;
  #timer: { readonly handle: NodeJS.Timeout; readonly dueMs: number } | null = null;
  #lastMs = Number.NEGATIVE_INFINITY;
  #writing: Promise<void> = Promise.resolve();
  /** A write waits for the one before it, and will take its snapshot then. */
  #waits = false;
  #changes = 0;
  #written = 0;
  #held: HeldLine[] = [];

  constructor(path: string, snapshot: () => AgentStatus, onError: (message: string) => void) {
    this.#path = path;
    this.#snapshot = snapshot;
    this.#onError = onError;
  }

  changed(what: keyof typeof PAUSE_MS): void {
    if (what !== "numbers") this.#changes++;
    const nowMs = performance.now();
    const dueMs = this.#lastMs + PAUSE_MS[what];
    if (dueMs <= nowMs) {
      this.#write();
      return;
    }
    if (this.#timer !== null && this.#timer.dueMs <= dueMs) return;
    this.#stopTimer();
    this.#timer = { dueMs, handle: setTimeout(() => this.#write(), dueMs - nowMs) };
  }

  /** Calls `tell` when the file holds every event up to now; in the order of the calls. */
  whenWritten(tell: () => void): void {
    if (this.#held.length === 0 && this.#written === this.#changes) {
      tell();
      return;
    }
    this.#held.push({ change: this.#changes, tell });
    if (this.#held.length > HELD_LINES) this.#release(this.#changes);
  }

  /** Writes what is true now; nothing is written after it. */
  async close(): Promise<void> {
    this.#write();
    await this.#writing;
  }

  #write(): void {
    this.#stopTimer();
    this.#lastMs = performance.now();
    if (this.#waits) return;
    this.#waits = true;
    this.#writing = this.#writing.then(async () => {
      this.#waits = false;
      const upTo = this.#changes;
      try {
        await writeFileAtomically(this.#path, `${JSON.stringify(this.#snapshot(), null, 2)}\n`);
      } catch (error) {
        this.#onError(`The status file could not be written: ${String(error)}`);
      }
      this.#written = upTo;
      this.#release(upTo);
    });
  }

  #release(upTo: number): void {
    const due = this.#held.findIndex(({ change }) => change > upTo);
    const lines = this.#held.splice(0, due === -1 ? this.#held.length : due);
    for (const { tell } of lines) tell();
  }

  #stopTimer(): void {
    clearTimeout(this.#timer?.handle);
    this.#timer = null;
  }
}
