import type { Usage } from "../../schema/wire/worker-frames.ts";
import type { WorkerSockets } from "../workers/worker-sockets.ts";
import type { LiveAnswers } from "./answers/live-answers.ts";
import type { Job, JobEnd } from "./jobs/lane-state.ts";
import type { AccountUsage } from "./records/account-usage.ts";
import { observeEnd } from "./records/lane-metrics.ts";
import { meteringBase } from "./records/metering-record.ts";
import { boundCount, boundUsage } from "./records/metering-rules.ts";
import type { MeteringWriter } from "./records/metering-writer.ts";
import type { MetricsStore } from "./records/metrics-store.ts";

interface CompletionContext {
  readonly answers: LiveAnswers;
  readonly metrics: MetricsStore;
  readonly usage: AccountUsage;
  readonly metering: MeteringWriter;
  readonly sockets: Pick<WorkerSockets, "find">;
  waitUntil(work: Promise<void>): void;
}

type Done = Extract<JobEnd, { outcome: "done" }>;

/**
 * Does what follows the end of a job: bounds and charges its usage, ends its answer, and only then makes its metering
 * row.
 */
export class JobCompletion {
  readonly #context: CompletionContext;

  constructor(context: CompletionContext) {
    this.#context = context;
  }

  complete(job: Job, end: JobEnd): void {
    const { answers, metrics, usage: accounts, metering } = this.#context;
    const nowMs = Date.now();
    const claimed = end.outcome === "done" ? end.usage : { promptTokens: 0, completionTokens: job.relayedTokens };
    const { usage, clamped } = boundUsage(claimed, job);
    observeEnd(metrics.measured, job, end.outcome === "done" ? end : { code: end.code }, usage, nowMs);
    metrics.saveSoon();
    const { promptTokens, completionTokens } = usage;
    // Free the slot first: a client that sees the end of its stream may open the next one.
    const tokens = promptTokens + completionTokens;
    accounts.record(job.keyId, { slot: job.id, tokens, isStream: job.request.stream });
    const row = { ...meteringBase(job, nowMs), promptTokens, completionTokens };
    const flags = [...(clamped ? ["clamped"] : []), ...(job.isOverlong ? ["overlong"] : [])];
    if (end.outcome !== "done") {
      answers.failed(job, end.outcome, end.code, end);
      metering.add({ ...row, outcome: end.outcome, code: end.code, flags: flags.join(",") });
      return;
    }
    const streamedHash = this.#endAnswer(job, end, usage);
    const publicKey = this.#context.sockets.find(job.connection)?.publicKey ?? "";
    this.#context.waitUntil(metering.addDone(job, end, { row, flags, publicKey, streamedHash }));
  }

  #endAnswer(job: Job, { finishReason, text, toolCalls, stopSequence, countedTokens }: Done, usage: Usage) {
    // A job that counts tokens uses none. Its client sees the count as the prompt tokens of the answer.
    const shown =
      countedTokens === undefined ? usage : { promptTokens: boundCount(countedTokens, job), completionTokens: 0 };
    return this.#context.answers.done(job, { finishReason, usage: shown, text, toolCalls, stopSequence });
  }
}
