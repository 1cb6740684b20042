/** The metrics of inference, in the Prometheus text exposition format 0.0.4. The names follow vLLM's, with `ligand_` for `vllm:`. */
import { LIMITS } from "../../schema/wire/limits.ts";
import type { ModelLoad } from "../inference/jobs/served-models-rules.ts";
import type { LaneOverview } from "../inference/lane-rpc.ts";
import {
  BUCKETS_SECONDS,
  type HistogramName,
  type LaneMetrics,
  type ModelMetrics,
  OTHER_MODELS,
} from "../inference/records/lane-metrics.ts";
import { family, type Sample } from "./exposition.ts";

export interface Measured {
  readonly overview: LaneOverview;
  readonly metrics: LaneMetrics;
  /** Since the lane last woke. */
  readonly framesRefused: number;
  readonly outboxRows: number;
}

/** The metrics of inference as text. */
export function prometheusText({ overview, metrics, framesRefused, outboxRows }: Measured): string {
  const loads = byMetricsModel(overview.models, metrics);
  const load = (pick: (load: ModelLoad) => number) =>
    [...loads].map(([model_name, each]): Sample => ["", { model_name }, each.reduce((n, one) => n + pick(one), 0)]);
  const model = (pick: (model: ModelMetrics) => number) =>
    [...metrics.models].map(([model_name, each]): Sample => ["", { model_name }, pick(each)]);
  return [
    family("ligand_workers", "gauge", "Workers connected.", [["", {}, overview.workers]]),
    family(
      "ligand_slots",
      "gauge",
      "Jobs that connected workers can run at once.",
      load(({ slots }) => slots),
    ),
    family(
      "ligand_slots_free",
      "gauge",
      "Free slots.",
      load(({ free }) => free),
    ),
    family(
      "ligand_num_requests_running",
      "gauge",
      "Requests that run at a worker.",
      load(({ active }) => active),
    ),
    family(
      "ligand_num_requests_waiting",
      "gauge",
      "Requests in the queue.",
      load(({ queued }) => queued),
    ),
    histogram(
      "ligand_time_to_first_token_seconds",
      "Time from acceptance to the first text of a streamed answer.",
      "timeToFirstToken",
      metrics,
    ),
    histogram(
      "ligand_inter_token_latency_seconds",
      "Time between output tokens of streamed answers, measured in the pool.",
      "timePerOutputToken",
      metrics,
    ),
    histogram(
      "ligand_e2e_request_latency_seconds",
      "Time from acceptance to the end of successful requests.",
      "endToEnd",
      metrics,
    ),
    histogram("ligand_request_queue_time_seconds", "Queue time of successful requests.", "queueTime", metrics),
    family(
      "ligand_prompt_tokens_total",
      "counter",
      "Prompt tokens of successful requests.",
      model(({ promptTokens }) => promptTokens),
    ),
    family(
      "ligand_generation_tokens_total",
      "counter",
      "Generated tokens.",
      model(({ generationTokens }) => generationTokens),
    ),
    family(
      "ligand_request_success_total",
      "counter",
      "Successful requests, by finish reason.",
      [...metrics.models].flatMap(([model_name, { successByReason }]) =>
        [...successByReason].map(([finished_reason, n]): Sample => ["", { model_name, finished_reason }, n]),
      ),
    ),
    family("ligand_request_errors_total", "counter", "Failed requests, by error code.", errors(metrics)),
    family(
      "ligand_requests_unserved_total",
      "counter",
      "Requests for a model that no connected worker serves. Names that no worker ever offered are counted under an empty name.",
      [...metrics.unserved].map(([model_name, n]): Sample => ["", { model_name }, n]),
    ),
    family("ligand_requests_requeued_total", "counter", "Requests that were requeued for another worker.", [
      ["", {}, metrics.requeued],
    ]),
    family(
      "ligand_worker_frames_refused_total",
      "counter",
      "Worker sockets that were closed because of an invalid frame.",
      [["", {}, framesRefused]],
    ),
    family("ligand_outbox_rows", "gauge", "Rows that are pending for D1.", [["", {}, outboxRows]]),
  ].join("");
}

/**
 * Groups the loads by their name in the metrics. The limit on model names applies here too, and models that had jobs
 * take precedence.
 */
function byMetricsModel(models: readonly ModelLoad[], metrics: LaneMetrics): Map<string, ModelLoad[]> {
  let room = LIMITS.modelsInMetrics - metrics.models.size;
  return Map.groupBy(models, ({ name }) => (metrics.models.has(name) || room-- > 0 ? name : OTHER_MODELS));
}

function errors(metrics: LaneMetrics): Sample[] {
  const all: [model: string, errors: Map<string, number>][] = [
    ["", metrics.errorsByCode],
    ...[...metrics.models].map(([name, { errorsByCode }]): [string, Map<string, number>] => [name, errorsByCode]),
  ];
  return all.flatMap(([model_name, codes]) => [...codes].map(([code, n]): Sample => ["", { model_name, code }, n]));
}

function histogram(name: string, help: string, which: HistogramName, metrics: LaneMetrics): string {
  const samples = [...metrics.models].flatMap(([model_name, { histograms }]): Sample[] => {
    const { counts, sumSeconds } = histograms[which];
    let total = 0;
    const buckets = counts.map((n, i): Sample => {
      total += n;
      return ["_bucket", { model_name, le: String(BUCKETS_SECONDS[which][i] ?? "+Inf") }, total];
    });
    return [...buckets, ["_sum", { model_name }, sumSeconds], ["_count", { model_name }, total]];
  });
  return family(name, "histogram", help, samples);
}
