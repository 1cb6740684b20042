import { type AgentEvent, formatEvent, levelOf, logRecord } from "../events.ts";
import type { AgentStatus } from "../state/status-file.ts";
import { jsonLine } from "../terminal-text.ts";
import { type Download, downloadBar, tenthsOfDownloads } from "./download-bar.ts";
import { printable } from "./shared/table.ts";
import { FlagError } from "./shared/usage-error.ts";

/** What `start` shows while the worker runs. */
export interface Display {
  event(event: AgentEvent): void;
  status(status: AgentStatus): void;
  /** Restores the terminal. A second call does nothing. */
  close(): void;
}

/** The part of a stream that is needed here, for example of `process.stdout`. */
export interface Screen {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

export interface DisplayOptions {
  /** The value of `--log`. The default is a live line in a terminal, and sentences elsewhere. */
  readonly log: "json" | "text" | undefined;
  /** Only warnings and errors. */
  readonly quiet: boolean;
  /** `TERM`. A dumb terminal cannot erase a line. */
  readonly terminal: string | undefined;
}

export function logFormat(given: string | undefined): "json" | "text" | undefined {
  if (given === undefined || given === "json" || given === "text") return given;
  throw new FlagError("log", `must be text or json, not "${given}".`);
}

export function displayOn(screen: Screen, { log, quiet, terminal }: DisplayOptions, nowMs: () => number): Display {
  const passesFilter = tenthsOfDownloads();
  const wanted = (event: AgentEvent) => (!quiet || ["warn", "error"].includes(levelOf(event))) && passesFilter(event);
  const nothing = { status: () => {}, close: () => {} };
  if (log === "json") {
    return {
      event: (event) => wanted(event) && screen.write(`${jsonLine(logRecord(event, nowMs()))}\n`),
      ...nothing,
    };
  }
  if (screen.isTTY === true && log === undefined && !quiet && terminal !== "dumb") return new LiveLine(screen, nowMs);
  // `jobs-elsewhere` is reported every few seconds and is not urgent. `status` shows it.
  const shown = (event: AgentEvent) => event.type !== "jobs-elsewhere" && wanted(event);
  return { event: (event) => shown(event) && screen.write(`${printable(formatEvent(event))}\n`), ...nothing };
}

const REDRAW_MS = 250;

/** The time over which the speed is averaged. */
const RATE_WINDOW_MS = 3_000;

const CLEAR = "\r\u001b[2K";

/** Turns line wrapping off: a name with wide letters is cut at the edge instead of breaking the line. */
const unwrapped = (line: string) => `\u001b[?7l${line}\u001b[?7h`;

/** One status line, redrawn in place. Events are printed above it. */
class LiveLine implements Display {
  readonly #screen: Screen;
  readonly #nowMs: () => number;
  readonly #timer: NodeJS.Timeout;
  #samples: readonly Sample[] = [];
  #status: AgentStatus | null = null;
  #download: Download | null = null;
  #drawn = "";

  constructor(screen: Screen, nowMs: () => number) {
    this.#screen = screen;
    this.#nowMs = nowMs;
    this.#timer = setInterval(() => this.#draw(), REDRAW_MS).unref();
  }

  event(event: AgentEvent): void {
    this.#download = event.type === "downloading" && event.bytes < event.totalBytes ? event : null;
    if (this.#download !== null) return;
    // The status line already counts jobs.
    if (levelOf(event) === "debug") return;
    this.#erase();
    this.#screen.write(`${printable(formatEvent(event))}\n`);
  }

  status(status: AgentStatus): void {
    this.#status = status;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#erase();
  }

  #draw(): void {
    const full = this.#download === null ? this.#statusLine() : downloadBar(this.#download);
    if (full === null) return;
    const line = cut(full, (this.#screen.columns || 80) - 1);
    if (line === this.#drawn) return;
    this.#screen.write(CLEAR + unwrapped(line));
    this.#drawn = line;
  }

  #statusLine(): string | null {
    if (this.#status === null) return null;
    const atMs = this.#nowMs();
    this.#samples = sampled(this.#samples, { atMs, tokens: this.#status.counters.tokensGenerated });
    return liveLine(this.#status, tokensPerSecond(this.#samples), atMs);
  }

  #erase(): void {
    if (this.#drawn !== "") this.#screen.write(CLEAR);
    this.#drawn = "";
  }
}

export interface Sample {
  readonly atMs: number;
  readonly tokens: number;
}

/** Adds a sample and drops those older than the window. */
export function sampled(samples: readonly Sample[], next: Sample): readonly Sample[] {
  return [...samples.filter(({ atMs }) => atMs > next.atMs - RATE_WINDOW_MS), next];
}

export function tokensPerSecond(samples: readonly Sample[]): number {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0;
  // The count can shrink: an upstream server may report fewer tokens than the pieces it sent.
  return (Math.max(0, last.tokens - first.tokens) * 1_000) / (last.atMs - first.atMs);
}

const NAMES_CHARS = 40;

/** The worker's status in one line. */
export function liveLine(status: AgentStatus, rate: number, nowMs: number): string {
  const { models, counters, lastJob } = status;
  const names = printable(models.map(({ name }) => name).join(", "));
  const active = models.reduce((sum, model) => sum + model.active, 0);
  const jobs = models.reduce((sum, model) => sum + model.jobs, 0);
  return [
    connection(status, nowMs),
    ...(models.length === 0 ? [] : [names.length > NAMES_CHARS ? `${models.length} models` : names]),
    ...(lastJob === null && jobs === 0
      ? ["no jobs yet"]
      : [
          `${active} active`,
          `${Math.round(rate)} tok/s`,
          `${jobs} job${jobs === 1 ? "" : "s"}`,
          `${counters.tokensGenerated} tokens`,
        ]),
  ].join(" · ");
}

function connection({ state, nextAttemptMs }: AgentStatus, nowMs: number): string {
  if (state !== "connecting" || nextAttemptMs === null) return state;
  return `disconnected, next try in ${Math.max(0, Math.ceil((nextAttemptMs - nowMs) / 1_000))} s`;
}

function cut(line: string, columns: number): string {
  const letters = [...line];
  return letters.length <= columns ? line : `${letters.slice(0, Math.max(0, columns - 1)).join("")}…`;
}
