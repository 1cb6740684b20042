/** Prometheus text exposition format 0.0.4, with names in the form of vLLM's, `ligand_` for `vllm:`. Pure. */
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
      "Slots that wait for a job.",
      load(({ free }) => free),
    ),
    family(
      "ligand_num_requests_running",
      "gauge",
      "Requests that a worker has.",
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
      "From acceptance to the first text of a streamed answer.",
      "timeToFirstToken",
      metrics,
    ),
    histogram(
      "ligand_inter_token_latency_seconds",
      "Between output tokens of streamed answers, as they pass the pool.",
      "timePerOutputToken",
      metrics,
    ),
    histogram(
      "ligand_e2e_request_latency_seconds",
      "From acceptance to the end of requests that succeeded.",
      "endToEnd",
      metrics,
    ),
    histogram(
      "ligand_request_queue_time_seconds",
      "Wait for a worker of requests that succeeded.",
      "queueTime",
      metrics,
    ),
    family(
      "ligand_prompt_tokens_total",
      "counter",
      "Prompt tokens of requests that succeeded.",
      model(({ promptTokens }) => promptTokens),
    ),
    family(
      "ligand_generation_tokens_total",
      "counter",
      "Tokens generated.",
      model(({ generationTokens }) => generationTokens),
    ),
    family(
      "ligand_request_success_total",
      "counter",
      "Requests that succeeded, by why they ended.",
      [...metrics.models].flatMap(([model_name, { successByReason }]) =>
        [...successByReason].map(([finished_reason, n]): Sample => ["", { model_name, finished_reason }, n]),
      ),
    ),
    family("ligand_request_errors_total", "counter", "Requests that did not succeed, by code.", errors(metrics)),
    family(
      "ligand_requests_unserved_total",
      "counter",
      "Requests for a model that nobody serves now; those for names that no worker ever offered have no name.",
      [...metrics.unserved].map(([model_name, n]): Sample => ["", { model_name }, n]),
    ),
    family("ligand_requests_requeued_total", "counter", "Requests given to another worker.", [
      ["", {}, metrics.requeued],
    ]),
    family("ligand_worker_frames_refused_total", "counter", "Worker sockets closed for what they sent.", [
      ["", {}, framesRefused],
    ]),
    family("ligand_outbox_rows", "gauge", "Records that wait to be written to D1.", [["", {}, outboxRows]]),
  ].join("");
}

/** The bound on models holds for their load too: those that had jobs come first. */
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
