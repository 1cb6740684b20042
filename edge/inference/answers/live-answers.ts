/** The clients' side of a lane: which answer each running job goes into, and what is held for it until it is read. */
import { createHash, type Hash } from "node:crypto";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { FinishReason, ToolCall, Usage } from "../../../schema/wire/worker-frames.ts";
import type { ErrorDetails } from "../../http/error-body.ts";
import type { AnswerHead } from "../formats/answer-format.ts";
import { JobGroup } from "../jobs/job-group-rules.ts";
import type { Effect, Job } from "../jobs/lane-state.ts";
import type { JobState } from "../lane-rpc.ts";
import { newPace, type Pace } from "../records/lane-metrics.ts";
import type { Answer, Served } from "./answer.ts";
import { StreamedAnswer } from "./streamed-answer.ts";
import { freeVectors } from "./vector-bytes.ts";
import { WholeAnswer } from "./whole-answer.ts";

type TextEffect = Extract<Effect, { type: "text" }>;

interface Live {
  readonly asked: Asked;
  readonly answer: Answer;
  readonly group: JobGroup;
  /** Of parts that are done, texts and vectors; of a stream, what its end repeats. */
  keptBytes: number;
  vectors: Uint8Array[];
}

interface LivePart {
  readonly live: Live;
  /** Of what was streamed. */
  responseHash: Hash | null;
  readonly pace: Pace;
}

interface LaneHooks {
  /** These jobs run for nobody any more. */
  cancel(jobIds: readonly string[], code: ErrorCode): void;
  keepAnswer(keyId: string, bytes: number): boolean;
  dropAnswer(keyId: string, bytes: number): void;
  ended(request: Asked, state: JobState): void;
}

/** A request, by all that its client may call it. */
interface Asked {
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

export class LiveAnswers {
  readonly #hooks: LaneHooks;
  /** By job id. */
  readonly #parts = new Map<string, LivePart>();
  /** Answers that run, and those that have ended and are still being read. */
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

  /** An answer for these jobs. Call what is returned beside the response when its client has left. */
  open(opening: Opening, nowMs: number): { response: Promise<Response>; leave: () => void } {
    const { head, keyId, requestId, jobIds, stream, statusHoldMs } = opening;
    const events = {
      gone: (code: ErrorCode) => this.#hooks.cancel(live.group.running, code),
      closed: () => this.#closed(live),
      keep: (bytes: number) => {
        const isKept = this.#hooks.keepAnswer(keyId, bytes);
        if (isKept) live.keptBytes += bytes;
        return isKept;
      },
      unread: (bytes: number) => {
        // What a whole answer is made of is counted since it came.
        if (!stream) return true;
        if (bytes > 0) return this.#hooks.keepAnswer(keyId, bytes);
        this.#hooks.dropAnswer(keyId, -bytes);
        return true;
      },
    };
    const answer = stream
      ? new StreamedAnswer(head, nowMs, events)
      : new WholeAnswer(head, nowMs, statusHoldMs, events);
    const asked = { id: head.jobId, keyId, requestId };
    const live: Live = { asked, answer, group: new JobGroup(jobIds), keptBytes: 0, vectors: [] };
    this.#running.add(live);
    for (const id of jobIds) this.#parts.set(id, { live, responseHash: null, pace: newPace() });
    return { response: answer.response, leave: () => events.gone("inference/cancelled") };
  }

  accepted(job: Job): void {
    this.#parts.get(job.id)?.live.answer.accepted(servedBy(job));
  }

  /** A piece of a streamed answer. Its pace, for the metrics. */
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
   * A job is done. What it kept in the lane's bytes is held for its reader from here on.
   *
   * @returns the hash of what it streamed
   */
  done(job: Job, end: PartDone): Hash | null {
    const part = this.#take(job.id);
    if (!part) {
      this.#hooks.dropAnswer(job.keyId, job.keptBytes);
      return null;
    }
    const { live } = part;
    const served = servedBy(job);
    live.keptBytes += job.keptBytes;
    live.vectors.push(...job.said.vectors);
    const { vectors, logprobs } = job.said;
    const step = live.group.done(job.id, { served, vectors, logprobs, ...end });
    if (step === "over") {
      this.#dropKept(live);
      return part.responseHash;
    }
    live.answer.finished(served, live.group.choiceOf(job.id), end.finishReason, end.stopSequence);
    if (step !== "running") {
      this.#ends(live, "done");
      live.answer.done(step.ends, step.usage);
    }
    return part.responseHash;
  }

  /** A job ended otherwise, and its request with it. */
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
    this.#dropKept(live);
    live.answer.failed(code, details);
    this.#hooks.cancel(others, "inference/cancelled");
  }

  #ends(live: Live, state: JobState): void {
    this.#hooks.ended(live.asked, state);
    this.#running.delete(live);
    if (!live.answer.closed) this.#closing.add(live);
  }

  #closed(live: Live): void {
    this.#closing.delete(live);
    // One that is given up while it runs drops this when its last job has ended.
    if (!this.#running.has(live)) this.#dropKept(live);
  }

  #dropKept(live: Live): void {
    this.#hooks.dropAnswer(live.asked.keyId, live.keptBytes);
    live.keptBytes = 0;
    const { vectors } = live;
    live.vectors = [];
    // Whoever heard of the end of the last job may still read them, and does so at once.
    queueMicrotask(() => freeVectors(vectors));
  }
}

export function servedBy(job: Job): Served {
  return { workerId: job.workerId ?? "", queuedMs: job.queuedMs, deterministic: job.engine !== "upstream" };
}
