import { createHash } from "node:crypto";
import { toBase64 } from "../../schema/crypto/bytes.ts";
import { canonicalBytesOrNull } from "../../schema/crypto/canonical.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type {
  AgentFrame,
  FinishReason,
  JobFrame,
  Metering,
  TokenLogprob,
  ToolCall,
  Usage,
} from "../../schema/wire/worker-frames.ts";
import type { Engine, Failed, JobFailure } from "../engine/engine.ts";
import { coalescer } from "./coalesce.ts";
import { endForPool } from "./frame-for-pool.ts";
import { buildMeteringRecord } from "./metering.ts";

export interface JobRunner {
  readonly engine: Engine;
  readonly pool: string;
  readonly worker: string;
  /** Of the worker protocol that the pool speaks. */
  readonly minor: number;
  readonly signMetering: (metering: Metering) => Promise<string>;
  readonly send: (frame: AgentFrame) => void;
  /** Resolves when the socket has room again, or at the abort; undefined while it has room. */
  readonly room: (signal: AbortSignal) => Promise<void> | undefined;
  readonly nowMs: () => number;
  /** After this long without a frame of the job one says that it is still worked on. */
  readonly progressMs: number;
  readonly frameBytes: number;
}

export type JobEnd =
  | { readonly type: "done"; readonly usage: Usage }
  | { readonly type: "failed"; readonly code: JobFailure; readonly message: string }
  | { readonly type: "aborted" };

/** What `done` carries beside the answer, generously. */
const DONE_OVERHEAD_BYTES = 8_192;

/**
 * Runs one leased job on the engine and reports it frame by frame, each with the lease it came with (docs/spec/inference.md#a-jobs-life, docs/spec/workers.md#socket-protocol).
 * After an abort nothing more is sent. When the promise resolves the engine computes nothing more for this job.
 */
export async function runJob(job: JobFrame, runner: JobRunner, signal: AbortSignal): Promise<JobEnd> {
  const report = new Report(job, runner, signal);
  try {
    const end = await (job.kind === "embedding" ? embed(job, report) : generate(job, report));
    if (signal.aborted) return { type: "aborted" };
    return end ?? report.fail(engineFailed("The engine ended without an answer.", true));
  } finally {
    report.close();
  }
}

/** What the pool is told of one job, in whatever way the engine answers. */
class Report {
  readonly runner: JobRunner;
  readonly signal: AbortSignal;
  /** Of what was said; `metering.response_sha256`. */
  readonly hash = createHash("sha256");
  readonly #job: JobFrame;
  readonly #startedMs: number;
  readonly #progressTimer: NodeJS.Timeout;
  #requestSha256 = "";

  constructor(job: JobFrame, runner: JobRunner, signal: AbortSignal) {
    this.#job = job;
    this.runner = runner;
    this.signal = signal;
    this.#startedMs = runner.nowMs();
    this.#progressTimer = setInterval(() => this.send({ type: "progress" }), runner.progressMs);
  }

  send(frame: FrameOfJob): void {
    if (this.signal.aborted) return;
    this.runner.send({ ...frame, jobId: this.#job.jobId, lease: this.#job.lease });
    this.#progressTimer.refresh();
  }

  fail({ quoted, ...failure }: Omit<Failed, "type">): JobEnd {
    const { code, message } = failure;
    const whole = quoted === undefined ? message : `${message.replace(/\.$/, "")}: ${quoted}`;
    this.send({ ...failure, type: "failed", message: whole });
    return { type: "failed", code, message };
  }

  /** The prompt fits. Null, or how the job has ended already. */
  async accepted(): Promise<JobEnd | null> {
    const requestBytes = canonicalBytesOrNull(this.#job.request);
    if (requestBytes === null) {
      return this.fail(unsupported("The request holds text that is not Unicode."));
    }
    // The pool holds a stream's HTTP status until a first frame says that the job is not refused.
    if (this.#job.request.stream) this.send({ type: "progress" });
    this.#requestSha256 = await sha256Hex(requestBytes);
    return null;
  }

  async done(finishReason: FinishReason, usage: Usage, whole: Whole): Promise<JobEnd> {
    const { runner } = this;
    const offer = runner.engine.models().find((it) => it.name === this.#job.model);
    const metering = buildMeteringRecord({
      job: this.#job,
      pool: runner.pool,
      worker: runner.worker,
      modelSha256: offer?.sha256 ?? null,
      usage,
      finishReason,
      requestSha256: this.#requestSha256,
      responseSha256: this.hash.digest("hex"),
      startedMs: this.#startedMs,
      endedMs: runner.nowMs(),
    });
    const meteringSignature = await runner.signMetering(metering);
    if (Buffer.byteLength(JSON.stringify(whole)) > runner.frameBytes - DONE_OVERHEAD_BYTES) {
      return this.fail(engineFailed("The answer does not fit one frame: ask for a stream.", false));
    }
    this.send({ type: "done", finishReason, usage, metering, meteringSignature, ...whole });
    return { type: "done", usage };
  }

  close(): void {
    clearInterval(this.#progressTimer);
  }
}

const unsupported = (message: string) => ({ code: "http/unsupported-parameter", message, retryable: false }) as const;
const engineFailed = (message: string, retryable: boolean) =>
  ({ code: "inference/engine-failed", message, retryable }) as const;

type FrameOfJob = Without<Extract<AgentFrame, { jobId: string }>, "jobId" | "lease">;
type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
/** What `done` carries of an answer beside its usage; text only of one that is not streamed. */
type Whole = Pick<Extract<AgentFrame, { type: "done" }>, "text" | "toolCalls" | "stopSequence" | "countedTokens">;

async function generate(job: Exclude<JobFrame, { kind: "embedding" }>, report: Report): Promise<JobEnd | null> {
  const { runner, signal, hash } = report;
  const { stream } = job.request;
  const calls: ToolCall[] = [];
  let answer = "";
  let saidBytes = 0;
  let deltas = coalescer();
  let seq = 0;
  let flushTimer: NodeJS.Timeout | undefined;

  const unsent: TokenLogprob[] = [];
  /** Before the text that the tokens are of. */
  const sendLogprobs = (least = 1) => {
    while (unsent.length >= least) {
      report.send({ type: "logprobs", tokens: unsent.splice(0, LIMITS.logprobsPerFrame) });
    }
  };
  const sendDelta = (delta: { text: string; tokens: number }, begun?: { id: string; name: string }) => {
    const toolCall = calls.length === 0 ? {} : { toolCall: { index: calls.length - 1, ...begun } };
    sendLogprobs();
    report.send({ type: "delta", seq: seq++, ...delta, ...toolCall });
  };
  const flush = () => {
    for (const delta of deltas.flush()) sendDelta(delta);
  };
  const say = async (piece: { text: string; tokens: number }) => {
    hash.update(piece.text);
    saidBytes += Buffer.byteLength(piece.text);
    const call = calls.at(-1);
    if (stream) {
      for (const delta of deltas.push(piece, runner.nowMs())) sendDelta(delta);
      const dueMs = deltas.dueMs();
      if (dueMs !== null && flushTimer === undefined) {
        const late = () => {
          flushTimer = undefined;
          flush();
        };
        flushTimer = setTimeout(late, Math.max(0, dueMs - runner.nowMs()));
      }
    } else if (call === undefined) answer += piece.text;
    else call.arguments += piece.text;
    await runner.room(signal);
  };

  try {
    for await (const event of runner.engine.generate(job, signal)) {
      if (signal.aborted) break;
      switch (event.type) {
        case "accepted": {
          const refused = await report.accepted();
          if (refused) return refused;
          break;
        }
        case "text":
        case "tool-arguments":
          if (event.type === "text") unsent.push(...(event.logprobs ?? []));
          if (!stream) sendLogprobs(LIMITS.logprobsPerFrame);
          await say({ text: event.text, tokens: event.tokens });
          break;
        case "tool-call": {
          const { id, name, tokens } = event;
          flush();
          hash.update(name);
          saidBytes += name.length;
          calls.push({ id, name, arguments: "" });
          deltas = coalescer();
          if (stream) sendDelta({ text: "", tokens }, { id, name });
          break;
        }
        case "failed":
          flush();
          return report.fail(event);
        case "end": {
          flush();
          sendLogprobs();
          const { finishReason, usage } = endForPool(runner.minor, event, { bytes: saidBytes, calls: calls.length });
          return await report.done(finishReason, usage, {
            ...(!stream && { text: answer, ...(calls.length > 0 && { toolCalls: calls }) }),
            ...(event.stopSequence !== undefined && { stopSequence: event.stopSequence }),
            ...(event.countedTokens !== undefined && { countedTokens: event.countedTokens }),
          });
        }
        default:
          return event satisfies never;
      }
    }
    return null;
  } finally {
    clearTimeout(flushTimer);
  }
}

async function embed(job: Extract<JobFrame, { kind: "embedding" }>, report: Report): Promise<JobEnd | null> {
  const { runner, signal, hash } = report;
  if (runner.engine.embed === undefined) {
    return report.fail(unsupported("This worker makes no embeddings."));
  }
  let index = 0;
  for await (const event of runner.engine.embed(job, signal)) {
    if (signal.aborted) break;
    switch (event.type) {
      case "accepted": {
        const refused = await report.accepted();
        if (refused) return refused;
        break;
      }
      case "vector": {
        const bytes = littleEndian(event.vector);
        hash.update(bytes);
        report.send({ type: "vector", index: index++, vector: toBase64(bytes) });
        await runner.room(signal);
        break;
      }
      case "failed":
        return report.fail(event);
      case "end":
        return await report.done("stop", { promptTokens: event.promptTokens, completionTokens: 0 }, {});
      default:
        return event satisfies never;
    }
  }
  return null;
}

/** Float32 as the wire and OpenAI's clients have it, whatever this machine's own order. */
function littleEndian(vector: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(vector.length * 4));
  for (const [i, value] of vector.entries()) view.setFloat32(4 * i, value, true);
  return new Uint8Array(view.buffer);
}

/** Frames of a job must come well within its lease. */
export function progressIntervalMs(leaseMs: number): number {
  return Math.min(LIMITS.progressMs, Math.max(1, Math.floor(leaseMs / 3)));
}
