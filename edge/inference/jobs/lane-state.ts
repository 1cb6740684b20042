/**
 * The state of a lane in memory: its jobs and its workers; and the effects that its machines return. This file has the
 * shapes and the empty lane. The machines change this state in place, because a lane holds thousands of jobs.
 */

import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { CLOSE } from "../../../schema/wire/limits.ts";
import type {
  AgentFrame,
  FinishReason,
  JobKind,
  JobRequest,
  Manifest,
  Metering,
  TokenLogprob,
  ToolCall,
  Usage,
} from "../../../schema/wire/worker-frames.ts";
import type { JobOutput } from "../answers/job-output-rules.ts";
import type { AnswerDialect } from "../formats/answer-format.ts";
import { emptyHealth, type LaneHealth } from "./lane-health-rules.ts";
import { emptyMemory, type LaneMemory } from "./lane-memory-rules.ts";
import type { Requirement } from "./worker-capability-rules.ts";

export interface WorkerOffer {
  readonly connection: string;
  readonly workerId: string;
  readonly engine: Engine;
  /** The minor version of the worker protocol that this connection speaks. */
  readonly minor: number;
  readonly models: readonly {
    name: string;
    slots: number;
    kinds: readonly JobKind[];
    contextTokens?: number | undefined;
  }[];
}

export interface NewJob {
  readonly id: string;
  /** The id of the request that this job is a part of, which is the id of the request's first job. */
  readonly group: string;
  readonly keyId: string;
  readonly requestId: string;
  readonly kind: JobKind;
  readonly model: string;
  readonly request: JobRequest;
  /** The API of the client. It may change what a worker must be able to do. */
  readonly dialect?: AnswerDialect | undefined;
}

/** Totals of one request, which its jobs share. */
export interface RequestTotals {
  /**
   * What the request takes of the lane's memory. The jobs share its texts, so it counts once, until the last job has
   * ended.
   */
  readonly requestBytes: number;
  /** The inputs of all jobs, where the request is for embeddings. */
  readonly inputs: number;
  /** Jobs that have not ended. */
  jobs: number;
  /** What the outputs of all jobs take of the lane's memory. */
  outputBytes: number;
}

export interface Job extends NewJob {
  readonly totals: RequestTotals;
  readonly acceptedMs: number;
  readonly deadlineMs: number;
  state: "queued" | "leased" | "streaming";
  /** Epoch ms at which the wait of a queued job ends. */
  queueUntilMs: number;
  queuedMs: number;
  attempts: number;
  /** The first attempt whose worker disconnected while it held only jobs of this key; null if there is none. */
  lostAloneAttempt: number | null;
  /** Ids of workers that tried this job and failed. They do not get it again. */
  readonly failedWorkers: Set<string>;
  /** The number of the latest lease. It fences the frames of earlier leases. */
  lease: number;
  leaseUntilMs: number;
  connection: string | null;
  workerId: string | null;
  engine: Engine | null;
  /** The minor version of the worker protocol that its worker speaks. */
  minor: number;
  /** UTF-8 bytes of the request that the worker got. A prompt has at most as many tokens. */
  requestBytes: number;
  /** What this job needs and only some workers can do. */
  readonly requirements: readonly Requirement[];
  /** The context of the model, from the manifest of the job's worker. */
  contextTokens: number;
  nextSeq: number;
  relayedBytes: number;
  relayedTokens: number;
  /** UTF-8 bytes of the text output: what was relayed, and the ids of tool calls. */
  textBytes: number;
  output: JobOutput;
  /** The bytes of the lane's memory that the output takes: vectors, and a whole text. */
  heldBytes: number;
  /** Whether the worker sent more than the answer may hold. */
  isOverlong: boolean;
}

type Engine = Manifest["engine"];
type DeltaFrame = Extract<AgentFrame, { type: "delta" }>;

export interface WorkerModel {
  readonly slots: number;
  readonly kinds: readonly JobKind[];
  readonly contextTokens: number;
  /** Pull credit: how many jobs the lane may still send. */
  credit: number;
}

export interface Worker {
  readonly connection: string;
  readonly workerId: string;
  readonly engine: Engine;
  readonly minor: number;
  readonly models: Map<string, WorkerModel>;
  readonly jobs: Set<string>;
  /** Job frames sent on this connection. */
  sent: number;
  /** Jobs that the worker had not received when it sent its last `ready`. */
  inTransit: { n: number; model: string }[];
  /**
   * How many frames of leases that it does not hold this worker sent, minus those that time has forgiven; and when that
   * was computed.
   */
  staleFrames: number;
  staleFramesAtMs: number;
  draining: boolean;
}

export interface LaneState {
  readonly jobs: Map<string, Job>;
  readonly queues: Map<string, string[]>;
  readonly workers: Map<string, Worker>;
  /** Per model, the connections that have credit. The one that has been available longest comes first. */
  readonly available: Map<string, Set<string>>;
  /**
   * Models that any worker ever offered. An unserved model is answered with 503 if it is known, and with 404 if not.
   */
  readonly knownModels: ReadonlySet<string>;
  nextLease: number;
  readonly memory: LaneMemory;
  /** Workers that failed, and workers that an admin has banned. */
  readonly health: LaneHealth;
}

export type JobEnd =
  | {
      outcome: "done";
      finishReason: FinishReason;
      usage: Usage;
      text: string | undefined;
      toolCalls: ToolCall[] | undefined;
      stopSequence: string | undefined;
      countedTokens: number | undefined;
      metering: Metering;
      signature: string;
    }
  | ({ outcome: "failed" | "cancelled" | "expired" } & Failure);

export interface Failure {
  readonly code: ErrorCode;
  readonly message?: string | undefined;
  readonly param?: string | undefined;
  readonly remedy?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
}

export type Effect =
  | { type: "send-job"; connection: string; job: Job }
  | { type: "send"; connection: string; frame: { type: "cancel" | "rejected"; jobId: string; lease: number } }
  | { type: "accepted"; job: Job }
  | { type: "text"; job: Job; text: string; toolCall?: DeltaFrame["toolCall"]; logprobs?: TokenLogprob[] }
  | { type: "end"; job: Job; end: JobEnd }
  | { type: "close"; connection: string; code: number; reason: string; violation: boolean };

export type Submission =
  | { ok: true; jobs: Job[]; effects: Effect[] }
  | ({ ok: false; code: ErrorCode } & Partial<Pick<Requirement, "param" | "message" | "remedy">>);

/**
 * An empty lane.
 * @param knownModels the set itself, not a copy: its owner adds to it
 */
export function newLane(
  knownModels: ReadonlySet<string> = new Set(),
  firstLease = 1,
  health: LaneHealth = emptyHealth(),
): LaneState {
  return {
    jobs: new Map(),
    queues: new Map(),
    workers: new Map(),
    available: new Map(),
    knownModels,
    nextLease: firstLease,
    memory: emptyMemory(),
    health,
  };
}

/** The effect that closes a connection whose worker broke the protocol. */
export function violation(connection: string, reason: string): Effect {
  return { type: "close", connection, code: CLOSE.policyViolation, reason, violation: true };
}
