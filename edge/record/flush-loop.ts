import { LIMITS } from "../../schema/wire/limits.ts";

/**
 * Sends the content of an outbox, the oldest first, and calls `sent` after each batch. Throws if the receiver is
 * unavailable.
 */
type Drain = (sent: () => void) => Promise<void>;

/**
 * Flushes one outbox: one drain at a time, with exponential backoff while the receiver is unavailable. Both outboxes of
 * this folder use it.
 */
export class FlushLoop {
  readonly #name: string;
  readonly #drain: Drain;
  #running: Promise<boolean> | null = null;
  #isClosed = false;
  #failures = 0;
  #retryAtMs = 0;

  /** `name`: the event name of the log entry that each failure writes. */
  constructor(name: string, drain: Drain) {
    this.#name = name;
    this.#drain = drain;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Call before the object's storage is deleted. A running drain then no longer touches the storage. */
  close(): void {
    this.#isClosed = true;
  }

  /**
   * Flushes once. True: the receiver has everything that the outbox held at the call. False: the receiver is
   * unavailable, and a retry is due later.
   */
  async run(): Promise<boolean> {
    // A running drain may have read its rows before the caller's rows were put.
    if (this.#running) await this.#running;
    this.#running ??= this.#attempt().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** When the next attempt is due, epoch ms. */
  retryAtMs(nowMs: number): number {
    // A wall clock that stepped back must not delay the retry by more than one backoff.
    const latestMs = nowMs + LIMITS.outboxRetryMaxMs;
    return Math.min(Math.max(nowMs + LIMITS.outboxRetryMinMs, this.#retryAtMs), latestMs);
  }

  async #attempt(): Promise<boolean> {
    const sent = () => {
      this.#failures = 0;
      this.#retryAtMs = 0;
    };
    try {
      await this.#drain(sent);
      sent();
      return true;
    } catch (error) {
      const backoffMs = Math.min(LIMITS.outboxRetryMaxMs, LIMITS.outboxRetryMinMs * 2 ** this.#failures);
      this.#failures += 1;
      this.#retryAtMs = Date.now() + backoffMs;
      const entry = { event: this.#name, failures: this.#failures, backoffMs, cause: causeOf(error) };
      console.warn(JSON.stringify(entry));
      return false;
    }
  }
}

/** A short description of the error for the log, without the query and its parameters. */
export function causeOf(error: unknown): string {
  const text = error instanceof Error ? (error.cause instanceof Error ? error.cause.message : error.name) : "unknown";
  return text.slice(0, 200);
}
