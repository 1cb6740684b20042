import { describe, expect, it } from "vitest";
import {
  BUCKETS_SECONDS,
  type LaneMetrics,
  newPace,
  OTHER_MODELS,
  observeEnd,
  observeRefusals,
  observeText,
  observeUnserved,
  restoreMetrics,
} from "../../../edge/inference/records/lane-metrics.ts";
import { prometheusText } from "../../../edge/status/metrics.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const fresh = () => restoreMetrics(undefined);
const job = { model: "m", acceptedMs: 1_000, queuedMs: 30, relayedBytes: 0, relayedTokens: 0 };
const usage = { promptTokens: 7, completionTokens: 5 };
const text = (metrics: LaneMetrics) =>
  prometheusText({ overview: { workers: 0, models: [] }, metrics, framesRefused: 0, outboxRows: 0 }).split("\n");
const bucketOf = (metrics: LaneMetrics, name: keyof typeof BUCKETS_SECONDS, model = "m") => {
  const { counts } = metrics.models.get(model)?.histograms[name] ?? { counts: [] };
  return Object.fromEntries(counts.flatMap((n, i) => (n > 0 ? [[String(BUCKETS_SECONDS[name][i] ?? "+Inf"), n]] : [])));
};

describe("the pace of a streamed answer", () => {
  it.each<[what: string, deltas: [atMs: number, bytes: number, tokens: number][], first: object, between: object]>([
    ["no text yet", [[1_050, 0, 0]], {}, {}],
    ["the first text", [[1_050, 4, 1]], { "0.06": 1 }, {}],
    [
      "each token of a delta gets an equal share",
      [
        [1_050, 4, 1],
        [1_090, 20, 5],
      ],
      { "0.06": 1 },
      { "0.01": 4 },
    ],
    [
      "text without a token counts with the next token",
      [
        [1_050, 4, 1],
        [1_070, 8, 1],
        [1_090, 12, 2],
      ],
      { "0.06": 1 },
      { "0.05": 1 },
    ],
    [
      "more claimed tokens than bytes",
      [
        [1_050, 4, 60_000],
        [1_090, 6, 120_000],
      ],
      { "0.06": 1 },
      { "0.025": 2 },
    ],
    [
      "a wall clock that stepped back",
      [
        [900, 4, 1],
        [800, 8, 2],
      ],
      { "0.005": 1 },
      { "0.001": 1 },
    ],
    ["beyond the last bucket", [[200_000, 4, 1]], { "+Inf": 1 }, {}],
  ])("%s", (_what, deltas, first, between) => {
    const metrics = fresh();
    const pace = newPace();
    for (const [atMs, relayedBytes, relayedTokens] of deltas) {
      observeText(metrics, { ...job, relayedBytes, relayedTokens }, pace, atMs);
    }
    expect(bucketOf(metrics, "timeToFirstToken")).toEqual(first);
    expect(bucketOf(metrics, "timePerOutputToken")).toEqual(between);
  });
});

it("a bucket includes its upper bound, as Prometheus defines `le`", () => {
  const metrics = fresh();
  for (const ms of [100, 101]) {
    observeEnd(metrics, { ...job, queuedMs: ms }, { finishReason: "stop" }, usage, 2_000);
  }
  expect(bucketOf(metrics, "queueTime")).toEqual({ "0.1": 1, "0.3": 1 });
});

it("counts tokens, reasons and codes by model", () => {
  const metrics = fresh();
  observeEnd(metrics, job, { finishReason: "stop" }, usage, 1_400);
  observeEnd(metrics, job, { code: "inference/worker-lost" }, { promptTokens: 0, completionTokens: 3 }, 1_400);
  observeRefusals(metrics, "m", "inference/queue-full");
  observeRefusals(metrics, null, "inference/rate-limited", 4);
  for (const model of ["m", null, null]) observeUnserved(metrics, model);
  expect(text(metrics)).toEqual(
    expect.arrayContaining([
      'ligand_prompt_tokens_total{model_name="m"} 7',
      'ligand_generation_tokens_total{model_name="m"} 8',
      'ligand_request_success_total{model_name="m",finished_reason="stop"} 1',
      'ligand_request_errors_total{model_name="",code="inference/rate-limited"} 4',
      'ligand_request_errors_total{model_name="m",code="inference/worker-lost"} 1',
      'ligand_request_errors_total{model_name="m",code="inference/queue-full"} 1',
      'ligand_e2e_request_latency_seconds_bucket{model_name="m",le="0.5"} 1',
      'ligand_e2e_request_latency_seconds_bucket{model_name="m",le="+Inf"} 1',
      'ligand_e2e_request_latency_seconds_sum{model_name="m"} 0.4',
      'ligand_requests_unserved_total{model_name="m"} 1',
      'ligand_requests_unserved_total{model_name=""} 2',
    ]),
  );
});

it("the number of series is bounded, however many models workers name", () => {
  const metrics = fresh();
  const names = Array.from({ length: 1_000 }, (_, i) => `model-${i}`);
  for (const model of names) observeEnd(metrics, { ...job, model }, { code: "inference/engine-failed" }, usage, 1_400);
  expect(metrics.models.size).toBe(LIMITS.modelsInMetrics + 1);
  expect(metrics.models.get(OTHER_MODELS)?.errorsByCode.get("inference/engine-failed")).toBe(
    1_000 - LIMITS.modelsInMetrics,
  );
  for (const model of names) observeUnserved(metrics, model);
  expect([metrics.unserved.size, metrics.unserved.get(OTHER_MODELS)]).toEqual([
    LIMITS.modelsInMetrics + 1,
    1_000 - LIMITS.modelsInMetrics,
  ]);
  const models = names.map((name) => ({ name, workers: 1, slots: 2, free: 1, active: 1, queued: 0, kinds: [] }));
  for (const measured of [metrics, fresh()]) {
    const lines = prometheusText({
      overview: { workers: 1, models },
      metrics: measured,
      framesRefused: 0,
      outboxRows: 0,
    }).split("\n");
    const slots = lines.filter((line) => line.startsWith("ligand_slots{"));
    expect(slots.length).toBe(LIMITS.modelsInMetrics + 1);
    expect(slots.reduce((sum, line) => sum + Number(line.split(" ")[1]), 0)).toBe(2_000);
  }
});

it("continues from the stored values, unless an earlier build had other buckets", () => {
  const metrics = fresh();
  observeEnd(metrics, job, { finishReason: "stop" }, usage, 1_400);
  expect(restoreMetrics(structuredClone(metrics))).toEqual(metrics);
  const { unserved: _, ...earlier } = structuredClone(metrics);
  expect(restoreMetrics(earlier)).toEqual(metrics);
  const other = structuredClone(metrics);
  other.models.get("m")?.histograms.endToEnd.counts.push(0);
  expect(restoreMetrics(other)).toEqual(fresh());
});
