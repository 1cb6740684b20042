import * as z from "zod";
import { counterValues } from "../session/counters.ts";
import { writeFileAtomically } from "./files.ts";

const timeMs = z.int().nonnegative();

/** Persisted in `status.json`, which `status` prints. README.md in this folder documents the fields. */
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
      /** Jobs that are running now. */
      active: z.int().nonnegative(),
      /** Jobs received so far. */
      jobs: z.int().nonnegative(),
      /** When a job of this model last started or ended. */
      lastJobMs: timeMs.nullable(),
    }),
  ),
  startedMs: timeMs,
  updatedMs: timeMs,
  connectedSinceMs: timeMs.nullable(),
  /** Set while the agent waits to connect again. */
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
  /** The last job that failed, and why. Contains no text of its request. */
  lastFailure: z
    .object({ atMs: timeMs, model: z.string(), code: z.string(), message: z.string() })
    .nullable()
    // Absent in a file of an older release.
    .default(null),
  /** The last job that this worker refused: it lacks the model or has no free slot. */
  lastRefusal: z.object({ atMs: timeMs, model: z.string(), message: z.string() }).nullable(),
  /**
   * Requests for models that this worker does not serve, since it connected or since its last job ended. Null: the pool
   * does not report them.
   */
  elsewhere: z.object({ jobs: z.int().nonnegative(), lastMs: timeMs.nullable() }).nullable().default(null),
  /** How the agent ended, for example because the pool refused its token. */
  stopped: z.object({ code: z.string(), message: z.string() }).nullable(),
  counters: counterValues,
});
export type AgentStatus = Readonly<z.infer<typeof agentStatus>>;

/** The shortest time between two writes, by the kind of change. */
const PAUSE_MS = Object.freeze({
  /** Soon, because programs wait until the worker is connected. */
  state: 0,
  /** A busy worker ends hundreds of jobs a second. One write covers all that end in this time. */
  event: 20,
  /** Every token changes a counter. */
  numbers: 250,
});

/** The most log lines that wait for the file. If the disk hangs, further lines are logged without waiting. */
const HELD_LINES = 1_000;

interface HeldLine {
  /** The change that must be in the file before this line is logged. */
  readonly change: number;
  readonly deliver: () => void;
}

/**
 * Writes the status to a file. Holds back each log line until the file contains what the line reports, so that a reader of
 * the line finds it in the file too. A full disk stops neither the agent nor its log.
 */
export class StatusFile {
  readonly #path: string;
  readonly #snapshot: () => AgentStatus;
  readonly #onError: (message: string) => void;
  #timer: { readonly handle: NodeJS.Timeout; readonly dueMs: number } | null = null;
  #lastMs = Number.NEGATIVE_INFINITY;
  #writing: Promise<void> = Promise.resolve();
  /** A write is queued behind the current one. It will take its snapshot when it starts. */
  #isQueued = false;
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

  /** Calls `deliver` when the file contains every event up to now. Keeps the order of the calls. */
  whenWritten(deliver: () => void): void {
    if (this.#held.length === 0 && this.#written === this.#changes) {
      deliver();
      return;
    }
    this.#held.push({ change: this.#changes, deliver });
    if (this.#held.length > HELD_LINES) this.#release(this.#changes);
  }

  /** Writes the final status. Nothing is written after it. */
  async close(): Promise<void> {
    this.#write();
    await this.#writing;
  }

  #write(): void {
    this.#stopTimer();
    this.#lastMs = performance.now();
    if (this.#isQueued) return;
    this.#isQueued = true;
    this.#writing = this.#writing.then(async () => {
      this.#isQueued = false;
      const upTo = this.#changes;
      try {
        await writeFileAtomically(this.#path, `${JSON.stringify(this.#snapshot(), null, 2)}\n`);
      } catch (error) {
        this.#onError(
          `The status file could not be written: ${String(error)}. Check the disk and the permissions of the state folder.`,
        );
      }
      this.#written = upTo;
      this.#release(upTo);
    });
  }

  #release(upTo: number): void {
    const due = this.#held.findIndex(({ change }) => change > upTo);
    const lines = this.#held.splice(0, due === -1 ? this.#held.length : due);
    for (const { deliver } of lines) deliver();
  }

  #stopTimer(): void {
    clearTimeout(this.#timer?.handle);
    this.#timer = null;
  }
}
