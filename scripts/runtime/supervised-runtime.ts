import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  convertV4MiniflareOptions,
  Log,
  LogLevel,
  Miniflare,
  MiniflareCoreError,
  type MiniflareOptions,
  type V4WorkerOptions,
} from "miniflare";
import { AT_START } from "../../schema/wire/scheduled.ts";
import { caretaker } from "./caretaker.ts";
import type { MigratedDatabase } from "./migrations.ts";
import type { NetworkNotes } from "./network-notes.ts";
import type { Cron } from "./pool-config.ts";
import { RUNTIME_STATE } from "./pool-secrets.ts";
import { withScratchIn } from "./runtime-scratch.ts";
import { recordedWorkerd } from "./workerd-record.ts";

export type LogLine = (line: string) => void;

const RESTART_MIN_MS = 250;
const RESTART_MAX_MS = 10_000;

export interface Runtime {
  dispose(): Promise<void>;
  /** Called when workerd ended and Miniflare could not restart it. */
  onFailure(listener: (error: Error) => void): void;
}

export interface Served {
  /** The worker whose `scheduled` is called at each start of workerd, also after a crash, and by the triggers. */
  name: string;
  crons: readonly Cron[];
  /** Removes workerd's notes of failed calls to peers from the log. */
  notes: Pick<NetworkNotes, "take">;
}

/** Work on D1 after workerd has started and before `scheduled` is called. */
export interface Prepared {
  /** The pool's D1 databases, by binding. */
  databases: V4WorkerOptions["d1Databases"];
  /** Gets the database bound as `DB`. */
  prepare(database: MigratedDatabase): Promise<void>;
}

/** Starts workerd with these workers, behind an entry that answers only the runner. */
export async function startRuntime(
  stateDir: string,
  workers: V4WorkerOptions[],
  recordFile: string,
  log: LogLine,
  { served, prepared }: { served?: Served; prepared?: Prepared | undefined },
): Promise<Runtime> {
  const entry = caretaker({ pool: served?.name, databases: prepared?.databases });
  const runtimeLog = new RuntimeLog(log);
  const { command, env } = recordedWorkerd(recordFile);
  // Miniflare reads this at each start of workerd. It is the same for every pool in this process.
  process.env.MINIFLARE_WORKERD_PATH = command;
  const options: MiniflareOptions = {
    ...convertV4MiniflareOptions({
      host: "127.0.0.1",
      port: 0,
      cf: false,
      logRequests: false,
      telemetry: { enabled: false },
      resourcePersistencePath: join(stateDir, RUNTIME_STATE),
      unsafeRuntimeEnv: env,
      log: runtimeLog,
      handleStructuredLogs: ({ level, message }) => {
        if (!isSchedulerNote(message) && !served?.notes.take(message)) log(`pool ${level}: ${message}`);
      },
      unsafeHandleRuntimeRestart: () => {
        log("The pool's runtime runs again.");
        wake(AT_START);
      },
      workers: [entry.worker, ...workers],
    }),
    enableDevRegistry: false,
  };
  const miniflare = withScratchIn(stateDir, () => withoutSignalHandlers(() => new Miniflare(options)));
  // Not awaited. If it fails, alarms do the same work later.
  const wake = (cron: string) => {
    if (served !== undefined) entry.scheduled(miniflare, cron).catch(() => undefined);
  };
  try {
    await miniflare.ready;
    await prepared?.prepare(entry.database(miniflare));
  } catch (error) {
    await miniflare.dispose().catch(() => undefined);
    throw error;
  }
  wake(AT_START);
  const timers = (served?.crons ?? []).map(({ cron, everyMs }) => setInterval(() => wake(cron), everyMs).unref());
  return {
    dispose() {
      for (const timer of timers) clearInterval(timer);
      return miniflare.dispose();
    },
    onFailure: (listener) => runtimeLog.onFailure(listener),
  };
}

/**
 * Whether this is a note of workerd's alarm scheduler for its developers ("NOSENTRY"): an alarm was rescheduled just when it
 * was due. This is common on a busy machine and harmless, because the alarm runs at its new time.
 */
export function isSchedulerNote(message: string): boolean {
  return message.startsWith("NOSENTRY SQLite alarm ");
}

/** Miniflare restarts a crashed workerd itself. When that fails, this starts a new Miniflare. */
export async function supervise(start: () => Promise<Runtime>, log: LogLine): Promise<{ stop(): Promise<void> }> {
  let stopping = false;
  let restarting = Promise.resolve();
  const stopSignal = new AbortController();
  const watch = (runtime: Runtime) =>
    runtime.onFailure(() => {
      restarting = restart(runtime);
    });
  let current = await start();
  watch(current);

  async function restart(failed: Runtime): Promise<void> {
    await failed.dispose().catch(() => undefined);
    for (let waitMs = RESTART_MIN_MS; !stopping; waitMs = Math.min(waitMs * 2, RESTART_MAX_MS)) {
      try {
        current = await start();
        watch(current);
        log("The pool's runtime runs again.");
        return;
      } catch (error) {
        log(`The pool's runtime does not start (${messageOf(error)}). Next attempt in ${waitMs} ms.`);
        await sleep(waitMs, undefined, { signal: stopSignal.signal }).catch(() => undefined);
      }
    }
  }

  return {
    async stop() {
      stopping = true;
      stopSignal.abort();
      await restarting;
      await current.dispose();
    },
  };
}

export function isAddressInUse(error: unknown): boolean {
  return error instanceof MiniflareCoreError && error.code === "ERR_ADDRESS_IN_USE";
}

/** Miniflare's own messages as log lines. */
class RuntimeLog extends Log {
  readonly #log: LogLine;
  #onFailure: ((error: Error) => void) | undefined;

  constructor(log: LogLine) {
    super(LogLevel.WARN);
    this.#log = log;
  }

  onFailure(listener: (error: Error) => void): void {
    this.#onFailure = listener;
  }

  override warn(message: string): void {
    this.#log(`The pool's runtime: ${message}`);
  }

  override error(error: Error): void {
    this.#log(`The pool's runtime: ${error.message}`);
    if (error instanceof MiniflareCoreError && error.code === "ERR_RUNTIME_FAILURE") this.#onFailure?.(error);
  }
}

/** Removes Miniflare's signal handlers, which end the whole process at the first signal. The caller decides when to end. */
function withoutSignalHandlers<T>(make: () => T): T {
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const before = names.map((name) => new Set(process.listeners(name)));
  const made = make();
  names.forEach((name, index) => {
    for (const listener of process.listeners(name)) {
      if (before[index]?.has(listener) === false) process.removeListener(name, listener);
    }
  });
  return made;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
