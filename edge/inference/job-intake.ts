import type { ErrorCode } from "../../schema/wire/errors.ts";
import type { ErrorDetails } from "../http/error-body.ts";
import { errorResponse } from "../http/errors.ts";
import type { LiveAnswers } from "./answers/live-answers.ts";
import type { AnswerHead } from "./formats/answer-format.ts";
import { answerFormat } from "./formats/answer-formats.ts";
import { autoModel } from "./jobs/auto-model-rules.ts";
import { newJobs } from "./jobs/job-group-tracker.ts";
import { submit } from "./jobs/lane-machine.ts";
import type { Effect, LaneState, Submission } from "./jobs/lane-state.ts";
import { canServe, modelLoads } from "./jobs/served-models-rules.ts";
import type { LaneJob } from "./lane-rpc.ts";
import type { LaneSettings } from "./lane-settings-rules.ts";
import type { AccountUsage } from "./records/account-usage.ts";
import type { DemandReports } from "./records/demand-reports.ts";
import { observeRefusals, observeUnserved } from "./records/lane-metrics.ts";
import type { MetricsStore } from "./records/metrics-store.ts";

/** `heldBytes`: the bytes of the lane's memory that the request takes, with the members that its answer repeats. */
type IncomingJob = Omit<LaneJob, "headers"> & { heldBytes: number };

const UTF8 = new TextDecoder();

const UNSERVED: readonly ErrorCode[] = ["inference/model-not-found", "inference/no-worker"];

interface IntakeContext {
  readonly state: LaneState;
  readonly settings: LaneSettings;
  readonly answers: LiveAnswers;
  readonly demand: DemandReports;
  readonly metrics: MetricsStore;
  readonly usage: AccountUsage;
  apply(effects: readonly Effect[]): void;
  /** Called for each request before it is submitted, to close connections of dead workers. */
  arrived(nowMs: number): void;
  /** Called when the lane has jobs that wait or run. */
  started(): void;
}

/** Takes requests into the lane. Each request becomes jobs and an answer, or a refusal. */
export class JobIntake {
  readonly #context: IntakeContext;

  constructor(context: IntakeContext) {
    this.#context = context;
  }

  async serve(request: Request): Promise<Response> {
    const { signal } = request;
    const bytes = await request.arrayBuffer();
    // A Worker of the previous version sends no headers. It may still run during a deployment.
    const { headers = {}, ...job } = JSON.parse(UTF8.decode(bytes)) as LaneJob;
    const response = await this.#answer({ ...job, heldBytes: bytes.byteLength }, signal);
    for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
    return response;
  }

  #answer(incoming: IncomingJob, signal: AbortSignal): Response | Promise<Response> {
    const { state, settings, answers, demand, apply, arrived, started } = this.#context;
    let hasLeft = signal.aborted;
    let leave = () => {
      hasLeft = true;
    };
    // Measured with workerd on one machine, before anything is written: a reset connection aborts the signal within 3
    // ms. A connection that the client closes (FIN) never aborts it, because an HTTP/1.1 client may close its half and
    // still read. A whole answer notices such a client only after its hold, when it writes.
    signal.addEventListener("abort", () => leave());
    const nowMs = Date.now();
    arrived(nowMs);
    const model = incoming.model === "auto" ? this.#autoModel(incoming) : incoming.model;
    const submission: Submission & ErrorDetails =
      model === null
        ? this.#noModelFor(incoming)
        : submit(
            state,
            newJobs(incoming, model, () => crypto.randomUUID()),
            incoming.heldBytes,
            nowMs,
          );
    const known = model !== null && state.knownModels.has(model) ? model : null;
    demand.requested(known);
    if (!submission.ok) return this.#refuse(incoming, submission, known, nowMs);
    const { jobs, effects } = submission;
    const { keyId, requestId, request } = incoming;
    const head = answerHead(incoming, model ?? "", nowMs);
    const { statusHoldMs } = settings;
    const jobIds = jobs.map((job) => job.id);
    const opened = answers.open({ head, keyId, requestId, jobIds, stream: request.stream, statusHoldMs }, nowMs);
    apply(effects);
    leave = opened.leave;
    if (hasLeft) leave();
    started();
    return opened.response;
  }

  #refuse(
    incoming: IncomingJob,
    refusal: Extract<Submission, { ok: false }> & ErrorDetails,
    known: string | null,
    nowMs: number,
  ): Response {
    const { metrics, usage } = this.#context;
    const { keyId, id, moreIds = [], request } = incoming;
    for (const slot of [id, ...moreIds]) usage.record(keyId, { slot, tokens: 0, isStream: request.stream });
    observeRefusals(metrics.measured, known, refusal.code);
    if (UNSERVED.includes(refusal.code)) observeUnserved(metrics.measured, known);
    metrics.saveSoon();
    const { errorBody } = answerFormat(answerHead(incoming, incoming.model, nowMs));
    return errorResponse(refusal.code, refusal, errorBody(refusal.code, refusal));
  }

  #autoModel({ kind, request, format }: IncomingJob): string | null {
    const { state, settings } = this.#context;
    const canDo = (model: string) => canServe(state, model, request, format);
    return autoModel(kind, modelLoads(state), settings.embeddingModel, canDo);
  }

  /** The refusal of a request for `auto`, if no connected worker serves a model for its kind. */
  #noModelFor({ kind }: IncomingJob): { ok: false; code: "inference/no-worker"; message: string } {
    const { embeddingModel } = this.#context.settings;
    const message =
      kind === "embedding" && embeddingModel !== null
        ? `No worker serves ${embeddingModel} now, which is the model that auto means for embeddings at this pool.`
        : "No worker that does this kind of request is connected now.";
    return { ok: false, code: "inference/no-worker", message };
  }
}

function answerHead(incoming: IncomingJob, model: string, nowMs: number): AnswerHead {
  const { id: jobId, requestId, kind, format = kind, includeUsage, encodingFormat, echo } = incoming;
  const createdSeconds = Math.floor(nowMs / 1_000);
  return { jobId, requestId, format, model, createdSeconds, includeUsage, encodingFormat, echo };
}
