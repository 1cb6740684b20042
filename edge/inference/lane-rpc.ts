/**
 * The interfaces of a `Lane` and the shapes that cross them. Each group of callers has an interface of its own;
 * `workers/lane-for.ts` returns stubs of these. Types only, and the URL of `fetch`.
 */
import type { RecordRow } from "../../schema/db/record-tables.ts";
import type { WorkerBanRow, WorkerTokenRow } from "../../schema/db/workers.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import type { JobKind, JobRequest } from "../../schema/wire/worker-frames.ts";
import type { ActingAdmin } from "../admins/admin-tokens-rpc.ts";
import type { ErasableText } from "../record/erasable-text.ts";
import type { HeldRecords } from "../record/record-outbox.ts";
import type { ConnectedWorker } from "../workers/connected-worker.ts";
import type { AnswerDialect } from "./formats/answer-format.ts";
import type { ModelLoad } from "./jobs/served-models-rules.ts";
import type { WorkerCircuitState } from "./jobs/worker-circuit-machine.ts";
import type { LaneMetrics } from "./records/lane-metrics.ts";

/** The client API. A job itself arrives as `POST LANE_JOBS_URL`, so that its answer streams back. */
export interface LaneForClients extends Rpc.DurableObjectBranded {
  /**
   * Cancels the jobs of this key that have this name and have not ended. Returns the state of the request afterwards;
   * if several requests have the name, the state of the newest. Null if the lane knows none.
   */
  cancelJobs(name: JobName, keyId: string): FoundJob | null;
  overview(): LaneOverview;
  /** Adds to the metrics requests that were refused before they became jobs. */
  countRefusals(refusals: ReadonlyMap<ErrorCode, number>): void;
}

/** The worker socket. The upgrade arrives as a request for `LANE_CONNECT_URL`. */
export interface LaneForWorkers extends Rpc.DurableObjectBranded {
  fetch(request: Request): Promise<Response>;
}

/** Who resets circuits: an admin of this pool, or a request of a peer's admin that our admin approved. */
export type ResetCause = { readonly by: string } | { readonly peer: string; readonly requestId: string };

export interface ResetAnswer {
  readonly circuits: number;
  readonly scores: number;
}

/** What approved requests of a peer's admin do (docs/spec/federation.md#actions). */
export interface LaneForActions extends Rpc.DurableObjectBranded {
  /** Closes circuits and resets qualities, of one worker or (null) of all. The same request resets nothing again. */
  resetCircuits(worker: string | null, cause: ResetCause): Promise<ResetAnswer>;
}

export interface WorkerCircuitView {
  workerId: string;
  model: string;
  state: WorkerCircuitState;
  /** Recent failures of a closed circuit. */
  failures: number;
  openedAtMs: number | null;
  /** From 0 to 1. */
  quality: number;
}

export interface LaneForAdmins extends Rpc.DurableObjectBranded {
  /** Stores a new worker token. The caller has minted it and shows it once. */
  invite(token: WorkerTokenRow): Promise<void>;
  /**
   * Closes the token's sockets and refuses the token from now on. `revokedAtMs` is the time of the first revocation;
   * `recorded` says whether D1 has it already. Null where the lane has no such token.
   */
  revokeToken(id: string, by: string): Promise<{ revokedAtMs: number; recorded: boolean } | null>;
  connectedWorkers(): ConnectedWorker[];
  /** A banned worker stays connected and gets no jobs; what it runs may end. False: too many workers are banned. */
  banWorker(workerId: string, note: ErasableText | null, by: ActingAdmin): Promise<boolean>;
  /** False: the worker is not banned. */
  pardonWorker(workerId: string, by: ActingAdmin): Promise<boolean>;
  /** The bans that are in force, the newest first. */
  bans(): WorkerBanRow[];
  /** Circuits and qualities of workers with a failure. */
  circuits(): WorkerCircuitView[];
  /** As `LaneForActions.resetCircuits`, for an admin of this pool. */
  resetCircuits(worker: string | null, cause: ResetCause): Promise<ResetAnswer>;
  /** Stores exported tokens. If the lane has one of them with other content, stores nothing and returns false. */
  restoreTokens(tokens: WorkerTokenRow[]): Promise<boolean>;
  /** Sends exported rows to D1. The lane does not use them itself. */
  restoreRecords(table: "workers" | "metering", rows: RecordRow<"workers" | "metering">[]): Promise<void>;
  /** Resolves after one attempt to send all rows so far to D1. */
  flushRecords(): Promise<void>;
}

/** Status, metrics and `pool doctor`. */
export interface LaneForReaders extends Rpc.DurableObjectBranded {
  overview(): LaneOverview;
  metrics(): { measured: LaneMetrics; framesRefused: number; outboxRows: number };
  /**
   * Counts what the lane holds in memory for jobs and answers. Every number is 0 when nothing waits, runs or is being
   * read.
   */
  holds(): Record<string, number>;
  heldRecords(): HeldRecords;
}

export interface LaneRpc extends LaneForActions, LaneForClients, LaneForWorkers, LaneForAdmins, LaneForReaders {}

export const LANE_JOBS_URL = "https://lane/jobs";

/** The body of `POST LANE_JOBS_URL`: an authenticated, admitted, validated request. The response goes to the client. */
export interface LaneJob {
  /** The id of the request and of its first job. */
  id: string;
  /** The ids of the jobs of its further choices. Each holds a stream slot under its own id. */
  moreIds?: string[];
  /** Choices for each prompt; 1 by default. */
  n?: number;
  /** All prompts of a completion that has several. The prompt in `request` is then empty. */
  prompts?: string[];
  keyId: string;
  /** The value of `x-request-id`: the client's, or one that the pool made. */
  requestId: string;
  kind: JobKind;
  /** The API whose answer the client gets; absent: the API that has the name of the kind. */
  format?: AnswerDialect;
  model: string;
  request: JobRequest;
  includeUsage: boolean;
  /** Headers of the response. The lane sets them, because the Worker passes the response on without a copy. */
  headers?: Record<string, string>;
  /** Members of the request that the answer repeats. */
  echo?: Record<string, unknown>;
  /** For embeddings. */
  encodingFormat?: "float" | "base64";
}

/**
 * The name by which a client cancels: the id of a job, or the request id, which several requests of a key may share.
 */
export interface JobName {
  jobId: string | null;
  requestId: string;
}

export interface FoundJob {
  id: string;
  state: JobState;
}

/** The state of a job, as its own client may see it. */
export type JobState = "queued" | "leased" | "streaming" | "done" | "failed" | "cancelled" | "expired";

export interface LaneOverview {
  workers: number;
  models: ModelLoad[];
}
