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

/** `heldBytes`: what the request takes of the lane's memory, with all that its answer repeats. */
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
  /** A request arrived. Connections of workers that are dead should be closed before it is submitted. */
  arrived(nowMs: number): void;
  /** Jobs wait or run from now on. */
  started(): void;
}

/** Requests on their way into the lane: each becomes jobs and an answer, or a refusal. */
export class JobIntake {
  readonly #context: IntakeContext;

  constructor(context: IntakeContext) {
    this.#context = context;
  }

  async serve(request: Request): Promise<Response> {
    const { signal } = request;
    const bytes = await request.arrayBuffer();
    // A Worker of the version before sends no headers. It still runs while a deployment rolls out.
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
    // Measured with workerd on one machine, before anything is written: a connection that is reset aborts within 3 ms; one
    // that is closed (FIN) never aborts, because HTTP/1.1 clients may close their half and still read. A whole answer then
    // learns of it after its hold.
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

  /** The client asked for `auto`, and no connected worker serves a model for this kind. */
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
