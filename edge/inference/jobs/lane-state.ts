/** What a lane knows of its jobs and workers, and what its machine asks to be done. Shapes, and the empty lane. */

import type { ErrorCode } from "../../../schema/wire/errors.ts";
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
import type { Said } from "../answers/job-output-rules.ts";
import type { AnswerDialect } from "../formats/answer-format.ts";
import { type LaneBytes, noBytes } from "./lane-memory-rules.ts";
import type { Need } from "./worker-capability-rules.ts";

export interface WorkerOffer {
  readonly connection: string;
  readonly workerId: string;
  readonly engine: Engine;
  /** Of the worker protocol. */
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
  /** The id of the request that it is a part of: that of its first job. */
  readonly group: string;
  readonly keyId: string;
  readonly requestId: string;
  readonly kind: JobKind;
  readonly model: string;
  readonly request: JobRequest;
  /** In which its client speaks, where that changes what a worker must be able to do. */
  readonly dialect?: AnswerDialect | undefined;
}

/** What the jobs of one request have together. */
export interface Whole {
  /** The request in the lane's bytes: its jobs share the texts, so it counts once, until the last of them has ended. */
  readonly requestBytes: number;
  /** Of embeddings, the inputs of all jobs. */
  readonly inputs: number;
  /** Jobs that have not ended. */
  jobs: number;
  /** The answers of all jobs in the lane's bytes. */
  answerBytes: number;
}

export interface Job extends NewJob {
  readonly whole: Whole;
  readonly acceptedMs: number;
  readonly deadlineMs: number;
  state: "queued" | "leased" | "streaming";
  /** Waiting ends here while `queued`. */
  queueUntilMs: number;
  queuedMs: number;
  attempts: number;
  /** The attempt whose worker vanished while it held no other job. */
  lostAlone: number | null;
  /** Ids of the workers that tried and failed: it is not theirs again. */
  readonly failedAt: Set<string>;
  lease: number;
  leaseUntilMs: number;
  connection: string | null;
  workerId: string | null;
  engine: Engine | null;
  /** Of the protocol that its worker speaks: what it was sent goes by it. */
  minor: number;
  /** The request in UTF-8, as its worker got it: no prompt has more tokens. */
  requestBytes: number;
  /** What only some workers can do of it. */
  readonly needs: readonly Need[];
  /** Of the model, as the worker's manifest says it. */
  contextTokens: number;
  nextSeq: number;
  relayedBytes: number;
  relayedTokens: number;
  /** All that the answer is made of in text: what was relayed, and the ids of calls. */
  saidBytes: number;
  said: Said;
  /** Of the answer, in the lane's bytes: vectors, and a whole text. */
  keptBytes: number;
  /** The worker sent more than the answer may hold. */
  isOverlong: boolean;
}

type Engine = Manifest["engine"];
type DeltaFrame = Extract<AgentFrame, { type: "delta" }>;

export interface WorkerModel {
  readonly slots: number;
  readonly kinds: readonly JobKind[];
  readonly contextTokens: number;
  /** Pull credit: jobs we may still send. */
  credit: number;
}

export interface Worker {
  readonly connection: string;
  readonly workerId: string;
  readonly engine: Engine;
  readonly minor: number;
  readonly models: Map<string, WorkerModel>;
  readonly jobs: Set<string>;
  /** Job frames sent on this socket, and those of them that the worker's last `ready` did not know yet. */
  sent: number;
  inTransit: { n: number; model: string }[];
  /** Frames about jobs that were not its, less what time has forgiven, and when that was counted. */
  strays: number;
  strayMs: number;
  draining: boolean;
}

export interface LaneState {
  readonly jobs: Map<string, Job>;
  readonly queues: Map<string, string[]>;
  readonly workers: Map<string, Worker>;
  /** Per model, the connections that have credit, least recently used first. */
  readonly available: Map<string, Set<string>>;
  /** Models that were ever offered here: the difference between 404 and 503. */
  readonly knownModels: Set<string>;
  nextLease: number;
  readonly bytes: LaneBytes;
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
  | ({ ok: false; code: ErrorCode } & Partial<Pick<Need, "param" | "message" | "remedy">>);

export function newLane(knownModels: Iterable<string> = [], firstLease = 1): LaneState {
  return {
    jobs: new Map(),
    queues: new Map(),
    workers: new Map(),
    available: new Map(),
    knownModels: new Set(knownModels),
    nextLease: firstLease,
    bytes: noBytes(),
  };
}
