/**
 * The answers of a lane: it knows the answer of each running job, and the memory that an answer holds until it is read.
 */
import { createHash, type Hash } from "node:crypto";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { FinishReason, ToolCall, Usage } from "../../../schema/wire/worker-frames.ts";
import type { ErrorDetails } from "../../http/error-body.ts";
import type { AnswerHead } from "../formats/answer-format.ts";
import { JobGroup, type Served } from "../jobs/job-group-tracker.ts";
import type { Effect, Job } from "../jobs/lane-state.ts";
import type { JobState } from "../lane-rpc.ts";
import { newPace, type Pace } from "../records/lane-metrics.ts";
import type { Answer } from "./answer.ts";
import { StreamedAnswer } from "./streamed-answer.ts";
import { freeVectors } from "./vector-bytes.ts";
import { WholeAnswer } from "./whole-answer.ts";

type TextEffect = Extract<Effect, { type: "text" }>;

interface Live {
  readonly request: OpenRequest;
  readonly answer: Answer;
  readonly group: JobGroup;
  /** Bytes of the lane's memory: texts and vectors of finished parts, and the text that the end of a stream repeats. */
  heldBytes: number;
  vectors: Uint8Array[];
}

interface LivePart {
  readonly live: Live;
  /** The hash of the streamed text; null before the first piece. */
  responseHash: Hash | null;
  readonly pace: Pace;
}

interface LaneHooks {
  /** No client waits for these jobs any more. */
  cancel(jobIds: readonly string[], code: ErrorCode): void;
  holdAnswer(keyId: string, bytes: number): boolean;
  releaseAnswer(keyId: string, bytes: number): void;
  ended(request: OpenRequest, state: JobState): void;
}

/** The ids by which a client may name a request. */
interface OpenRequest {
  readonly id: string;
  readonly keyId: string;
  readonly requestId: string;
}

export interface Opening {
  readonly head: AnswerHead;
  readonly keyId: string;
  readonly requestId: string;
  readonly jobIds: readonly string[];
  readonly stream: boolean;
  readonly statusHoldMs: number;
}

export interface PartDone {
  readonly finishReason: FinishReason;
  readonly usage: Usage;
  readonly text: string | undefined;
  readonly toolCalls: readonly ToolCall[] | undefined;
  readonly stopSequence: string | undefined;
}

/** Keeps the answers of one lane from the request until the client has read them. */
export class LiveAnswers {
  readonly #hooks: LaneHooks;
  /** By job id. */
  readonly #parts = new Map<string, LivePart>();
  /** Answers whose jobs run (`#running`), and answers that have ended and are still being read (`#closing`). */
  readonly #running = new Set<Live>();
  readonly #closing = new Set<Live>();

  constructor(hooks: LaneHooks) {
    this.#hooks = hooks;
  }

  get isIdle(): boolean {
    return this.#running.size === 0 && this.#closing.size === 0;
  }

  held(): Record<string, number> {
    return { answers: this.#running.size, answers_being_read: this.#closing.size };
  }

  /** Opens the answer of these jobs. Call `leave` when the client has disconnected. */
  open(opening: Opening, nowMs: number): { response: Promise<Response>; leave: () => void } {
    const { head, keyId, requestId, jobIds, stream, statusHoldMs } = opening;
    const events = {
      gone: (code: ErrorCode) => this.#hooks.cancel(live.group.running, code),
      closed: () => this.#closed(live),
      hold: (bytes: number) => {
        const isHeld = this.#hooks.holdAnswer(keyId, bytes);
        if (isHeld) live.heldBytes += bytes;
        return isHeld;
      },
      unread: (bytes: number) => {
        // The lane counts the text of a whole answer since the worker sent it.
        if (!stream) return true;
        if (bytes > 0) return this.#hooks.holdAnswer(keyId, bytes);
        this.#hooks.releaseAnswer(keyId, -bytes);
        return true;
      },
    };
    const answer = stream
      ? new StreamedAnswer(head, nowMs, events)
      : new WholeAnswer(head, nowMs, statusHoldMs, events);
    const request = { id: head.jobId, keyId, requestId };
    const live: Live = { request, answer, group: new JobGroup(jobIds), heldBytes: 0, vectors: [] };
    this.#running.add(live);
    for (const id of jobIds) this.#parts.set(id, { live, responseHash: null, pace: newPace() });
    return { response: answer.response, leave: () => events.gone("inference/cancelled") };
  }

  accepted(job: Job): void {
    this.#parts.get(job.id)?.live.answer.accepted(servedBy(job));
  }

  /** Writes a piece of a streamed answer. Returns its pace, for the metrics. */
  text(job: Job, { text, toolCall: call, logprobs }: Pick<TextEffect, "text" | "toolCall" | "logprobs">): Pace | null {
    const part = this.#parts.get(job.id);
    if (!part) return null;
    part.responseHash ??= createHash("sha256");
    if (call?.name !== undefined) part.responseHash.update(call.name);
    part.responseHash.update(text);
    part.live.answer.text(servedBy(job), part.live.group.choiceOf(job.id), { text, call, logprobs });
    return part.pace;
  }

  /**
   * A job is done. Its answer keeps the memory that the job held, until the client has read it.
   * @returns the hash of the streamed text of the job; null if nothing was streamed
   */
  done(job: Job, end: PartDone): Hash | null {
    const part = this.#take(job.id);
    if (!part) {
      this.#hooks.releaseAnswer(job.keyId, job.heldBytes);
      return null;
    }
    const { live } = part;
    const served = servedBy(job);
    live.heldBytes += job.heldBytes;
    live.vectors.push(...job.output.vectors);
    const { vectors, logprobs } = job.output;
    const step = live.group.done(job.id, { served, vectors, logprobs, ...end });
    if (step === "over") {
      this.#releaseHeld(live);
      return part.responseHash;
    }
    live.answer.finished(served, live.group.choiceOf(job.id), end.finishReason, end.stopSequence);
    if (step !== "running") {
      this.#ends(live, "done");
      live.answer.done(step.ends, step.usage);
    }
    return part.responseHash;
  }

  /** A job ended without success, and therefore its request too. */
  failed(job: Job, outcome: JobState, code: ErrorCode, details: ErrorDetails): void {
    const part = this.#take(job.id);
    if (part) this.#fail(part.live, job.id, outcome, code, details);
  }

  idle(nowMs: number, placeInQueue: (jobId: string) => number | null): void {
    for (const { answer, group } of this.#running) {
      answer.idle(nowMs, () => placeInQueue(group.running[0] ?? ""));
    }
    for (const { answer } of this.#closing) answer.idle(nowMs);
  }

  #take(jobId: string): LivePart | undefined {
    const part = this.#parts.get(jobId);
    this.#parts.delete(jobId);
    return part;
  }

  #fail(live: Live, jobId: string, outcome: JobState, code: ErrorCode, details: ErrorDetails = {}): void {
    const others = live.group.failed(jobId);
    if (others === null) return;
    this.#ends(live, outcome);
    this.#releaseHeld(live);
    live.answer.failed(code, details);
    this.#hooks.cancel(others, "inference/cancelled");
  }

  #ends(live: Live, state: JobState): void {
    this.#hooks.ended(live.request, state);
    this.#running.delete(live);
    if (!live.answer.closed) this.#closing.add(live);
  }

  #closed(live: Live): void {
    this.#closing.delete(live);
    // If jobs of the answer still run, the memory is released when the last job has ended.
    if (!this.#running.has(live)) this.#releaseHeld(live);
  }

  #releaseHeld(live: Live): void {
    this.#hooks.releaseAnswer(live.request.keyId, live.heldBytes);
    live.heldBytes = 0;
    const { vectors } = live;
    live.vectors = [];
    // Free them after this turn, in which the hash of the last job may still be computed from them.
    queueMicrotask(() => freeVectors(vectors));
  }
}

/** The worker that serves the job, in the form for answers. */
export function servedBy(job: Job): Served {
  return { workerId: job.workerId ?? "", queuedMs: job.queuedMs, deterministic: job.engine !== "upstream" };
}
