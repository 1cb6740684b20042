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
  /** The minor version of the worker protocol on this socket. */
  readonly minor: number;
  readonly signMetering: (metering: Metering) => Promise<string>;
  readonly send: (frame: AgentFrame) => void;
  /** Resolves when the socket's buffer has room again, or at the abort; undefined if it has room now. */
  readonly room: (signal: AbortSignal) => Promise<void> | undefined;
  readonly nowMs: () => number;
  /** After this time without a frame of the job, `progress` is sent. */
  readonly progressMs: number;
  readonly frameBytes: number;
}

export type JobEnd =
  | { readonly type: "done"; readonly usage: Usage }
  | { readonly type: "failed"; readonly code: JobFailure; readonly message: string }
  | { readonly type: "aborted" };

/** An upper bound for the parts of `done` other than the answer. */
const DONE_OVERHEAD_BYTES = 8_192;

/**
 * Runs one leased job on the engine, and sends its frames with the job's lease (docs/spec/workers.md#leases). Sends nothing
 * after an abort. When the promise resolves, the engine computes nothing more for this job.
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

/** Sends the frames of one job, for every kind of engine output. */
class Report {
  readonly runner: JobRunner;
  readonly signal: AbortSignal;
  /** The hash of the answer, for `metering.response_sha256`. */
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
    const full = quoted === undefined ? message : `${message.replace(/\.$/, "")}: ${quoted}`;
    this.send({ ...failure, type: "failed", message: full });
    return { type: "failed", code, message };
  }

  /** The engine has accepted the prompt. Returns the job's end if the request cannot be hashed, otherwise null. */
  async accepted(): Promise<JobEnd | null> {
    const requestBytes = canonicalBytesOrNull(this.#job.request);
    if (requestBytes === null) {
      return this.fail(unsupported("The request contains text that is not valid Unicode."));
    }
    // The pool holds back a stream's HTTP status until a first frame shows that the job is not refused.
    if (this.#job.request.stream) this.send({ type: "progress" });
    this.#requestSha256 = await sha256Hex(requestBytes);
    return null;
  }

  async done(finishReason: FinishReason, usage: Usage, answer: WholeAnswer): Promise<JobEnd> {
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
    if (Buffer.byteLength(JSON.stringify(answer)) > runner.frameBytes - DONE_OVERHEAD_BYTES) {
      return this.fail(engineFailed("The answer is too large for one frame. Request a stream.", false));
    }
    this.send({ type: "done", finishReason, usage, metering, meteringSignature, ...answer });
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
/** The answer's part of `done`. A streamed answer has no text here. */
type WholeAnswer = Pick<Extract<AgentFrame, { type: "done" }>, "text" | "toolCalls" | "stopSequence" | "countedTokens">;

async function generate(job: Exclude<JobFrame, { kind: "embedding" }>, report: Report): Promise<JobEnd | null> {
  const { runner, signal, hash } = report;
  const { stream } = job.request;
  const calls: ToolCall[] = [];
  let answer = "";
  let outputBytes = 0;
  let deltas = coalescer();
  let seq = 0;
  let flushTimer: NodeJS.Timeout | undefined;

  const unsent: TokenLogprob[] = [];
  /** Log probabilities are sent before the text of their tokens. */
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
  const emit = async (piece: { text: string; tokens: number }) => {
    hash.update(piece.text);
    outputBytes += Buffer.byteLength(piece.text);
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
          await emit({ text: event.text, tokens: event.tokens });
          break;
        case "tool-call": {
          const { id, name, tokens } = event;
          flush();
          hash.update(name);
          outputBytes += name.length;
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
          const { finishReason, usage } = endForPool(runner.minor, event, { bytes: outputBytes, calls: calls.length });
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
    return report.fail(unsupported("This worker does not make embeddings."));
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

/** Float32 in little-endian order, which the wire and OpenAI's clients use, on every machine. */
function littleEndian(vector: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(vector.length * 4));
  for (const [i, value] of vector.entries()) view.setFloat32(4 * i, value, true);
  return new Uint8Array(view.buffer);
}

/** At least three frames within a lease. */
export function progressIntervalMs(leaseMs: number): number {
  return Math.min(LIMITS.progressMs, Math.max(1, Math.floor(leaseMs / 3)));
}
