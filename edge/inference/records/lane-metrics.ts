/**
 * The measurements of a lane, with the names of vLLM's metrics, which dashboards know. Workers choose the names of
 * models, so the number of names is bounded: further models share one name.
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Usage } from "../../../schema/wire/worker-frames.ts";

/** Upper bounds in seconds; one more bucket, without a bound, follows each list. */
export const BUCKETS_SECONDS = Object.freeze({
  timeToFirstToken: [0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80],
  /** Exposed as the inter-token latency, and stored under this name. */
  timePerOutputToken: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5],
  endToEnd: [0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1_920],
  queueTime: [0.005, 0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60],
} satisfies Record<string, number[]>);
export type HistogramName = keyof typeof BUCKETS_SECONDS;

export interface Histogram {
  /** Observations per bucket, not cumulative. The exposition makes them cumulative. */
  readonly counts: number[];
  sumSeconds: number;
}

export interface ModelMetrics {
  readonly histograms: Record<HistogramName, Histogram>;
  promptTokens: number;
  generationTokens: number;
  readonly successByReason: Map<string, number>;
  readonly errorsByCode: Map<string, number>;
}

/** Persisted contract: the counts of a lane, so that they survive hibernation and restarts. */
export interface LaneMetrics {
  readonly version: 1;
  readonly models: Map<string, ModelMetrics>;
  /** Refusals of requests for no known model. */
  readonly errorsByCode: Map<string, number>;
  /** Requests for models that no worker served, by model. The key is empty for names that no worker ever offered. */
  readonly unserved: Map<string, number>;
  requeued: number;
}

/** An earlier release did not count unserved requests. */
type StoredMetrics = Omit<LaneMetrics, "unserved"> & Partial<LaneMetrics>;

/** The name that stands for all models beyond the bound. */
export const OTHER_MODELS = "other";

/** Restores stored counts, if their buckets are those of this release; otherwise starts at 0. */
export function restoreMetrics(stored: StoredMetrics | undefined): LaneMetrics {
  const usable =
    stored?.version === 1 &&
    [...stored.models.values()].every(({ histograms }) =>
      HISTOGRAMS.every((name) => histograms[name]?.counts.length === BUCKETS_SECONDS[name].length + 1),
    );
  return usable
    ? { unserved: new Map(), ...stored }
    : { version: 1, models: new Map(), errorsByCode: new Map(), unserved: new Map(), requeued: 0 };
}
const HISTOGRAMS = Object.keys(BUCKETS_SECONDS) as HistogramName[];

/** When the last text of a streamed job arrived, and how many tokens it had by then. */
export interface Pace {
  lastMs: number | null;
  tokens: number;
}

export const newPace = (): Pace => ({ lastMs: null, tokens: 0 });

interface MeasuredJob {
  readonly model: string;
  readonly acceptedMs: number;
  readonly queuedMs: number;
  readonly relayedBytes: number;
  readonly relayedTokens: number;
}

/** Measures text of a streamed job. A delta contains several tokens: each counts with an equal share of the time. */
export function observeText(metrics: LaneMetrics, job: MeasuredJob, pace: Pace, nowMs: number): void {
  if (job.relayedBytes === 0) return;
  // A worker's count is a claim; a token is at least a byte (docs/spec/workers.md#metering).
  const tokens = Math.min(job.relayedTokens, job.relayedBytes);
  const fresh = tokens - pace.tokens;
  if (pace.lastMs === null) {
    observe(metrics, job.model, "timeToFirstToken", nowMs - job.acceptedMs);
  } else if (fresh > 0) {
    observe(metrics, job.model, "timePerOutputToken", (nowMs - pace.lastMs) / fresh, fresh);
  } else {
    return;
  }
  pace.lastMs = nowMs;
  pace.tokens = tokens;
}

/** Measures the end of an accepted job. `usage` is the worker's claim after `boundUsage`. */
export function observeEnd(
  metrics: LaneMetrics,
  job: MeasuredJob,
  end: { finishReason: string } | { code: ErrorCode },
  usage: Usage,
  nowMs: number,
): void {
  const model = modelMetrics(metrics, job.model);
  // The text of a job that failed later was generated too.
  model.generationTokens += usage.completionTokens;
  if ("code" in end) {
    increment(model.errorsByCode, end.code);
    return;
  }
  observe(metrics, job.model, "endToEnd", nowMs - job.acceptedMs);
  observe(metrics, job.model, "queueTime", job.queuedMs);
  model.promptTokens += usage.promptTokens;
  increment(model.successByReason, end.finishReason);
}

/** Counts refused requests. `model` is null unless it is known: clients could invent any number of names. */
export function observeRefusals(metrics: LaneMetrics, model: string | null, code: ErrorCode, n = 1): void {
  increment(model === null ? metrics.errorsByCode : modelMetrics(metrics, model).errorsByCode, code, n);
}

/**
 * Counts a request that no worker could serve. `model` is null unless it is known: clients could invent any number of
 * names.
 */
export function observeUnserved(metrics: LaneMetrics, model: string | null): void {
  increment(metrics.unserved, model === null ? "" : nameIn(metrics.unserved, model));
}

function observe(metrics: LaneMetrics, model: string, name: HistogramName, ms: number, n = 1): void {
  const histogram = modelMetrics(metrics, model).histograms[name];
  // A backward clock step counts as no time.
  const seconds = Math.max(0, ms) / 1_000;
  const bounds = BUCKETS_SECONDS[name];
  let bucket = 0;
  while (bucket < bounds.length && seconds > (bounds[bucket] ?? 0)) bucket += 1;
  histogram.counts[bucket] = (histogram.counts[bucket] ?? 0) + n;
  histogram.sumSeconds += seconds * n;
}

function nameIn(counted: ReadonlyMap<string, unknown>, model: string): string {
  return counted.has(model) || counted.size < LIMITS.modelsInMetrics ? model : OTHER_MODELS;
}

function modelMetrics(metrics: LaneMetrics, model: string): ModelMetrics {
  const name = nameIn(metrics.models, model);
  const found = metrics.models.get(name);
  if (found) return found;
  const fresh: ModelMetrics = {
    histograms: {
      timeToFirstToken: emptyHistogram("timeToFirstToken"),
      timePerOutputToken: emptyHistogram("timePerOutputToken"),
      endToEnd: emptyHistogram("endToEnd"),
      queueTime: emptyHistogram("queueTime"),
    },
    promptTokens: 0,
    generationTokens: 0,
    successByReason: new Map(),
    errorsByCode: new Map(),
  };
  metrics.models.set(name, fresh);
  return fresh;
}

function emptyHistogram(name: HistogramName): Histogram {
  return { counts: Array(BUCKETS_SECONDS[name].length + 1).fill(0), sumSeconds: 0 };
}

function increment(counts: Map<string, number>, key: string, n = 1): void {
  counts.set(key, (counts.get(key) ?? 0) + n);
}
