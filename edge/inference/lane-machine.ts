/**
 * The rules of a lane (SPEC 5.2, 5.3): queue per model, pull credits, leases with fencing, requeueing, deadlines.
 *
 * Functions of state, event and time. The state is changed in place (a lane holds thousands of jobs), and what must
 * happen outside is returned as effects, in order. No clock, no randomness, no storage, no socket is touched here.
 */
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { CLOSE, LIMITS } from "../../schema/wire/limits.ts";
import { utf8Bytes } from "../../schema/wire/utf8.ts";
import type {
  AgentFrame,
  FinishReason,
  JobKind,
  JobRequest,
  Manifest,
  Metering,
  ToolCall,
  Usage,
} from "../../schema/wire/worker-frames.ts";
import { hearDelta, hearDone, hearVector, nothingSaid, type Said } from "./answer-rules.ts";
import type { JobName } from "./lane-api.ts";
import { mayTryAgain } from "./lost-jobs.ts";
import { canMeet, type Need, needsOf, unmetNeed } from "./worker-request.ts";

export interface NewJob {
  readonly id: string;
  readonly keyId: string;
  readonly requestId: string;
  readonly kind: JobKind;
  readonly model: string;
  readonly request: JobRequest;
  /** In UTF-8, with its envelope: what it costs to hold, and the bound of its prompt's tokens. */
  readonly requestBytes: number;
}

export interface Job extends NewJob {
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
  /** What only some workers can do of it. */
  readonly needs: readonly Need[];
  nextSeq: number;
  relayedBytes: number;
  relayedTokens: number;
  said: Said;
}

type Engine = Manifest["engine"];
type DeltaFrame = Extract<AgentFrame, { type: "delta" }>;

interface WorkerModel {
  readonly slots: number;
  readonly kinds: readonly JobKind[];
  /** Pull credit: jobs we may still send. */
  credit: number;
}

interface Worker {
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
  /** Of all jobs here, waiting and running; and of them each key's. */
  heldBytes: number;
  readonly heldBytesByKey: Map<string, number>;
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

interface Failure {
  readonly code: ErrorCode;
  readonly message?: string | undefined;
  readonly param?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
}

export type Effect =
  | { type: "send-job"; connection: string; job: Job }
  | { type: "send"; connection: string; frame: { type: "cancel" | "rejected"; jobId: string; lease: number } }
  | { type: "accepted"; job: Job }
  | { type: "text"; job: Job; text: string; toolCall?: DeltaFrame["toolCall"] }
  | { type: "end"; job: Job; end: JobEnd }
  | { type: "close"; connection: string; code: number; reason: string; violation: boolean };

export type Submission =
  | { ok: true; job: Job; effects: Effect[] }
  | ({ ok: false; code: ErrorCode } & Partial<Pick<Need, "param" | "message" | "remedy">>);

export function newLane(knownModels: Iterable<string> = [], firstLease = 1): LaneState {
  return {
    jobs: new Map(),
    queues: new Map(),
    workers: new Map(),
    available: new Map(),
    knownModels: new Set(knownModels),
    nextLease: firstLease,
    heldBytes: 0,
    heldBytesByKey: new Map(),
  };
}

// ---- clients

export function submit(state: LaneState, incoming: NewJob, nowMs: number): Submission {
  const { model } = incoming;
  const needs = needsOf(incoming.request);
  if (!isServed(state, model)) {
    return { ok: false, code: state.knownModels.has(model) ? "inference/no-worker" : "inference/model-not-found" };
  }
  if (!doesKind(state, model, incoming.kind)) return { ok: false, code: "inference/unsupported-kind" };
  const unmet = needs.length === 0 ? undefined : unmetNeed(needs, servingWorkers(state, model));
  if (unmet) return { ok: false, ...unmet };
  const queue = queueOf(state, model);
  const hasCredit = (state.available.get(model)?.size ?? 0) > 0;
  const isFull = (!hasCredit && !hasPlace(state, queue, incoming.keyId)) || !hasRoom(state, incoming);
  if (isFull) return { ok: false, code: "inference/queue-full" };

  const job: Job = {
    ...incoming,
    acceptedMs: nowMs,
    deadlineMs: nowMs + LIMITS.jobMs,
    state: "queued",
    queueUntilMs: nowMs + LIMITS.queueWaitMs,
    queuedMs: 0,
    attempts: 0,
    lostAlone: null,
    failedAt: new Set(),
    lease: 0,
    leaseUntilMs: 0,
    connection: null,
    workerId: null,
    engine: null,
    minor: 0,
    needs,
    nextSeq: 0,
    relayedBytes: 0,
    relayedTokens: 0,
    said: nothingSaid(),
  };
  state.jobs.set(job.id, job);
  hold(state, job, job.requestBytes);
  queue.push(job.id);
  return { ok: true, job, effects: dispatch(state, model, nowMs) };
}

/** What runs or waits and is called so by this key. */
export function jobsNamed(state: LaneState, { jobId, requestId }: JobName, keyId: string): string[] {
  if (jobId !== null && state.jobs.get(jobId)?.keyId === keyId) return [jobId];
  return [...state.jobs.values()].flatMap((job) => (job.requestId === requestId && job.keyId === keyId ? job.id : []));
}

/** The client left, or asked to stop. Nothing happens when the job has ended already. */
export function cancel(state: LaneState, jobId: string, code: ErrorCode): Effect[] {
  const job = state.jobs.get(jobId);
  if (!job) return [];
  return [...withdraw(state, job, "cancel"), end(state, job, { outcome: "cancelled", code })];
}

// ---- workers

export interface WorkerOffer {
  readonly connection: string;
  readonly workerId: string;
  readonly engine: Engine;
  /** Of the worker protocol. */
  readonly minor: number;
  readonly models: readonly { name: string; slots: number; kinds: readonly JobKind[] }[];
}

/** A worker proved its key. One that is here already by another socket is replaced: its old socket is dead. */
export function workerConnected(state: LaneState, offer: WorkerOffer, nowMs: number): Effect[] {
  const effects: Effect[] = [];
  for (const old of state.workers.values()) {
    if (old.workerId !== offer.workerId) continue;
    effects.push(...workerGone(state, old.connection, nowMs));
    effects.push({
      type: "close",
      connection: old.connection,
      code: CLOSE.normal,
      reason: "replaced by a newer connection",
      violation: false,
    });
  }
  state.workers.set(offer.connection, {
    connection: offer.connection,
    workerId: offer.workerId,
    engine: offer.engine,
    minor: offer.minor,
    models: new Map(offer.models.map(({ name, slots, kinds }) => [name, { slots, kinds, credit: 0 }])),
    jobs: new Set(),
    sent: 0,
    inTransit: [],
    strays: 0,
    strayMs: nowMs,
    draining: false,
  });
  return effects;
}

/** What must outlive hibernation: a lane that wakes up goes on from exactly this. Credits in the order of the offer. */
export interface RememberedCredit {
  readonly sent: number;
  readonly credits: readonly number[];
  readonly draining: boolean;
}

export function creditOf(
  state: LaneState,
  connection: string,
): { sent: number; credits: number[]; draining: boolean } | undefined {
  const worker = state.workers.get(connection);
  if (!worker) return undefined;
  const { sent, draining } = worker;
  return { sent, credits: [...worker.models.values()].map((model) => model.credit), draining };
}

export function workerRestored(state: LaneState, offer: WorkerOffer, credit: RememberedCredit): void {
  workerConnected(state, offer, 0);
  const worker = state.workers.get(offer.connection);
  if (!worker) return;
  worker.sent = credit.sent;
  worker.draining = credit.draining;
  for (const [i, [name, model]] of [...worker.models].entries()) {
    setCredit(state, worker, name, model, credit.credits[i] ?? 0);
  }
}

/**
 * The socket is gone. Jobs that have produced nothing go back to the front in the order they were accepted;
 * the others end, because their client has seen half an answer that nobody else can continue.
 */
export function workerGone(state: LaneState, connection: string, nowMs: number): Effect[] {
  const worker = state.workers.get(connection);
  if (!worker) return [];
  state.workers.delete(connection);
  for (const [name, model] of worker.models) setCredit(state, worker, name, model, 0);
  const [only] = worker.jobs.size === 1 ? [...worker.jobs].flatMap((id) => state.jobs.get(id) ?? []) : [];
  if (only && !worker.draining) only.lostAlone ??= only.attempts;
  return giveBack(state, [...worker.jobs], nowMs);
}

export function workerFrame(
  state: LaneState,
  connection: string,
  frame: Exclude<AgentFrame, { type: "hello" }>,
  nowMs: number,
): Effect[] {
  const worker = state.workers.get(connection);
  if (!worker) return [violation(connection, "frame before hello")];
  switch (frame.type) {
    case "ready":
      return ready(state, worker, frame, nowMs);
    case "drain":
      worker.draining = true;
      for (const [name, model] of worker.models) setCredit(state, worker, name, model, 0);
      return [];
    case "progress":
    case "delta":
    case "vector":
    case "done":
    case "failed": {
      const job = state.jobs.get(frame.jobId);
      // The lease number fences a worker that stalled past expiry and came back, or answers for another's job.
      if (!job || job.connection !== connection || job.lease !== frame.lease) {
        return stray(worker, frame, nowMs);
      }
      job.leaseUntilMs = nowMs + LIMITS.leaseMs;
      return jobFrame(state, job, worker, frame, nowMs);
    }
    default:
      return frame satisfies never;
  }
}

/** Lets time pass: ends waits, leases and jobs that are over. Call it at least every second while there are jobs. */
export function tick(state: LaneState, nowMs: number): Effect[] {
  const effects: Effect[] = [];
  const stalled: string[] = [];
  for (const job of state.jobs.values()) {
    if (job.deadlineMs <= nowMs) {
      effects.push(...withdraw(state, job, "cancel"));
      effects.push(end(state, job, { outcome: "expired", code: "inference/job-timeout" }));
    } else if (job.state === "queued") {
      if (job.queueUntilMs > nowMs) continue;
      effects.push(...withdraw(state, job, "cancel"));
      effects.push(end(state, job, { outcome: "expired", code: "inference/queue-timeout" }));
    } else if (job.leaseUntilMs <= nowMs) {
      effects.push(...withdraw(state, job, "rejected"));
      stalled.push(job.id);
    }
  }
  effects.push(...giveBack(state, stalled, nowMs));
  return effects;
}

export interface ModelLoad {
  readonly name: string;
  readonly kinds: readonly JobKind[];
  readonly workers: number;
  readonly slots: number;
  readonly free: number;
  readonly active: number;
  readonly queued: number;
}

/** What is served now, by model name. */
export function modelLoads(state: LaneState): ModelLoad[] {
  const loads = new Map<string, { kinds: JobKind[]; workers: number; slots: number; free: number; active: number }>();
  for (const worker of state.workers.values()) {
    if (worker.draining) continue;
    for (const [name, model] of worker.models) {
      const load = loads.get(name) ?? { kinds: [], workers: 0, slots: 0, free: 0, active: 0 };
      for (const kind of model.kinds) if (!load.kinds.includes(kind)) load.kinds.push(kind);
      load.workers += 1;
      load.slots += model.slots;
      load.free += model.credit;
      loads.set(name, load);
    }
  }
  for (const job of state.jobs.values()) {
    const load = loads.get(job.model);
    if (load && job.state !== "queued") load.active += 1;
  }
  return [...loads]
    .map(([name, load]) => ({ name, ...load, queued: state.queues.get(name)?.length ?? 0 }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** What is held for jobs here; nothing when none waits or runs. */
export function heldForJobs({ jobs, queues, workers, heldBytes, heldBytesByKey }: LaneState) {
  const all = [...workers.values()];
  return {
    jobs: jobs.size,
    queues: queues.size,
    queued: [...queues.values()].reduce((sum, queue) => sum + queue.length, 0),
    request_bytes: heldBytes,
    keys: heldBytesByKey.size,
    jobs_at_workers: all.reduce((sum, worker) => sum + worker.jobs.size, 0),
    jobs_on_the_way: all.reduce((sum, worker) => sum + worker.inTransit.length, 0),
  };
}

// ---- the rules behind them

/**
 * A job that is not this worker's, or not any more: it is told to drop it. Many frames may be under way when a job is
 * taken back; one that never ends them is closed, for what a worker does not read of our answers, the pool holds.
 */
function stray(worker: Worker, { jobId, lease }: { jobId: string; lease: number }, nowMs: number): Effect[] {
  const forgiven = (Math.max(0, nowMs - worker.strayMs) * LIMITS.strayFramesPerSecond) / 1_000;
  worker.strays = Math.max(0, worker.strays - forgiven) + 1;
  worker.strayMs = nowMs;
  const { connection } = worker;
  if (worker.strays > LIMITS.strayFrames) return [violation(connection, "too many frames of jobs that are not its")];
  return [{ type: "send", connection, frame: { type: "rejected", jobId, lease } }];
}

function ready(
  state: LaneState,
  worker: Worker,
  frame: Extract<AgentFrame, { type: "ready" }>,
  nowMs: number,
): Effect[] {
  if (frame.received > worker.sent) return [violation(worker.connection, "ready counts more jobs than were sent")];
  worker.inTransit = worker.inTransit.filter((job) => job.n > frame.received);
  const effects: Effect[] = [];
  for (const { model: name, free } of frame.slots) {
    const model = worker.models.get(name);
    if (!model || free > model.slots)
      return [violation(worker.connection, "ready names slots that the manifest does not have")];
    if (worker.draining) continue;
    // What we sent after the worker counted will take some of these slots.
    const taken = worker.inTransit.filter((job) => job.model === name).length;
    setCredit(state, worker, name, model, Math.max(0, free - taken));
    effects.push(...dispatch(state, name, nowMs));
  }
  return effects;
}

function jobFrame(
  state: LaneState,
  job: Job,
  worker: Worker,
  frame: Extract<AgentFrame, { type: "progress" | "delta" | "vector" | "done" | "failed" }>,
  nowMs: number,
): Effect[] {
  switch (frame.type) {
    case "progress":
      return [{ type: "accepted", job }];
    case "delta": {
      if (frame.seq !== job.nextSeq) return [violation(worker.connection, "a delta out of sequence")];
      const reason = hearDelta(job, job.said, frame);
      if (reason !== null) return [violation(worker.connection, reason)];
      const { text, tokens, toolCall } = frame;
      job.nextSeq += 1;
      job.state = "streaming";
      job.relayedBytes += utf8Bytes(text) + (toolCall?.name?.length ?? 0);
      job.relayedTokens += tokens;
      return [{ type: "text", job, text, ...(toolCall && { toolCall }) }];
    }
    case "vector": {
      // Nothing of it has reached the client: a worker that is lost now loses nothing of the job.
      const reason = hearVector(job, job.said, frame);
      return reason === null ? [{ type: "accepted", job }] : [violation(worker.connection, reason)];
    }
    case "done": {
      const reason = hearDone(job, job.said, frame);
      if (reason !== null) return [violation(worker.connection, reason)];
      const { finishReason, usage, text, toolCalls, stopSequence, countedTokens } = frame;
      const { metering, meteringSignature: signature } = frame;
      if (text !== undefined) {
        job.relayedBytes = utf8Bytes(text);
        for (const call of toolCalls ?? []) job.relayedBytes += call.name.length + utf8Bytes(call.arguments);
      }
      const said = { finishReason, usage, text, toolCalls, stopSequence, countedTokens };
      return [end(state, job, { outcome: "done", ...said, metering, signature })];
    }
    case "failed":
      return failed(state, job, worker, frame, nowMs);
    default:
      return frame satisfies never;
  }
}

/** What a worker could not do it is not asked again: another one is, or the client hears of it at once. */
function failed(
  state: LaneState,
  job: Job,
  worker: Worker,
  frame: Extract<AgentFrame, { type: "failed" }>,
  nowMs: number,
): Effect[] {
  const { code, message, param, retryAfterSeconds, retryable } = frame;
  const failure = { code, message, param, retryAfterSeconds };
  // A worker that leaves, or whose slot was taken after all, has tried nothing.
  const tried = !worker.draining && (code !== "inference/worker-busy" || retryAfterSeconds !== undefined);
  if (tried) job.failedAt.add(worker.workerId);
  if (!retryable || (tried && !canAnyDo(state, job))) return [end(state, job, { outcome: "failed", ...failure })];
  return giveBack(state, [job.id], nowMs, failure);
}

function canAnyDo(state: LaneState, job: Job): boolean {
  for (const worker of state.workers.values()) if (!worker.draining && canDo(worker, job)) return true;
  return false;
}

function canDo(worker: Worker, job: Job): boolean {
  const doesKind = worker.models.get(job.model)?.kinds.includes(job.kind) === true;
  return doesKind && !job.failedAt.has(worker.workerId) && canMeet(job.needs, worker);
}

/** Hands queued jobs to workers with credit, first come first served (SPEC 5.3). */
function dispatch(state: LaneState, model: string, nowMs: number): Effect[] {
  const effects: Effect[] = [];
  const queue = queueOf(state, model);
  const available = state.available.get(model);
  while (available && available.size > 0) {
    const next = nextPair(state, model, queue, available);
    if (!next) break;
    const { at, job, worker, offered } = next;
    queue.splice(at, 1);

    // Least recently used goes last, so that equal workers share the load.
    available.delete(worker.connection);
    setCredit(state, worker, model, offered, offered.credit - 1);
    worker.sent += 1;
    worker.inTransit.push({ n: worker.sent, model });
    worker.jobs.add(job.id);

    job.state = "leased";
    job.attempts += 1;
    job.lease = state.nextLease++;
    job.leaseUntilMs = nowMs + LIMITS.leaseMs;
    job.queuedMs = nowMs - job.acceptedMs;
    job.connection = worker.connection;
    job.workerId = worker.workerId;
    job.engine = worker.engine;
    job.minor = worker.minor;
    job.nextSeq = 0;
    job.relayedTokens = 0;
    job.said = nothingSaid();
    effects.push({ type: "send-job", connection: worker.connection, job });
  }
  if (queue.length === 0) state.queues.delete(model);
  return effects;
}

/** The first job that somebody free can do, and who: workers of one model differ in kinds, and in what they failed at. */
function nextPair(state: LaneState, model: string, queue: readonly string[], available: ReadonlySet<string>) {
  for (const [at, jobId] of queue.entries()) {
    const job = state.jobs.get(jobId);
    if (!job) continue;
    for (const connection of available) {
      const worker = state.workers.get(connection);
      const offered = worker?.models.get(model);
      if (worker && offered && canDo(worker, job)) return { at, job, worker, offered };
    }
  }
  return null;
}

/** Back to the front of the queue what has produced nothing; the end for the rest (SPEC 5.2). */
function giveBack(
  state: LaneState,
  jobIds: string[],
  nowMs: number,
  why: Failure = { code: "inference/worker-lost" },
): Effect[] {
  const effects: Effect[] = [];
  const models = new Set<string>();
  const jobs = jobIds
    .flatMap((id) => state.jobs.get(id) ?? [])
    .sort((a, b) => b.acceptedMs - a.acceptedMs || b.lease - a.lease);
  for (const job of jobs) {
    unassign(state, job);
    if (job.relayedBytes > 0 || !mayTryAgain(job)) {
      effects.push(end(state, job, { outcome: "failed", ...why }));
      continue;
    }
    job.state = "queued";
    job.queueUntilMs = nowMs + LIMITS.queueWaitMs;
    queueOf(state, job.model).unshift(job.id);
    models.add(job.model);
  }
  for (const model of models) effects.push(...dispatch(state, model, nowMs));
  return effects;
}

/** Takes a job away from whoever has it, and tells a worker that works on it. */
function withdraw(state: LaneState, job: Job, word: "cancel" | "rejected"): Effect[] {
  if (job.state === "queued") {
    const queue = queueOf(state, job.model);
    const at = queue.indexOf(job.id);
    if (at >= 0) queue.splice(at, 1);
    if (queue.length === 0) state.queues.delete(job.model);
    return [];
  }
  const { connection, lease } = job;
  unassign(state, job);
  return connection === null ? [] : [{ type: "send", connection, frame: { type: word, jobId: job.id, lease } }];
}

function end(state: LaneState, job: Job, jobEnd: JobEnd): Effect {
  if (job.connection) state.workers.get(job.connection)?.jobs.delete(job.id);
  if (state.jobs.delete(job.id)) hold(state, job, -job.requestBytes);
  return { type: "end", job, end: jobEnd };
}

/** What one key can fill is not all there is: neither the places of a queue nor the bytes of the lane. */
function hasPlace(state: LaneState, queue: readonly string[], keyId: string): boolean {
  if (queue.length < LIMITS.queuePerModel) return true;
  if (queue.length >= LIMITS.queuePerModel + LIMITS.queueReservePerModel) return false;
  return !queue.some((id) => state.jobs.get(id)?.keyId === keyId);
}

function hasRoom(state: LaneState, { keyId, requestBytes }: NewJob): boolean {
  const ofKey = state.heldBytesByKey.get(keyId) ?? 0;
  return state.heldBytes + requestBytes <= LIMITS.laneRequestBytes && ofKey + requestBytes <= LIMITS.keyRequestBytes;
}

function hold(state: LaneState, { keyId }: Job, bytes: number): void {
  state.heldBytes += bytes;
  const ofKey = (state.heldBytesByKey.get(keyId) ?? 0) + bytes;
  if (ofKey > 0) state.heldBytesByKey.set(keyId, ofKey);
  else state.heldBytesByKey.delete(keyId);
}

function unassign(state: LaneState, job: Job): void {
  if (job.connection) state.workers.get(job.connection)?.jobs.delete(job.id);
  job.connection = null;
}

function setCredit(state: LaneState, worker: Worker, name: string, model: WorkerModel, credit: number): void {
  model.credit = credit;
  let available = state.available.get(name);
  if (!available) {
    available = new Set();
    state.available.set(name, available);
  }
  if (credit > 0) available.add(worker.connection);
  else available.delete(worker.connection);
  if (available.size === 0) state.available.delete(name);
}

function queueOf(state: LaneState, model: string): string[] {
  let queue = state.queues.get(model);
  if (!queue) {
    queue = [];
    state.queues.set(model, queue);
  }
  return queue;
}

function isServed(state: LaneState, model: string): boolean {
  if ((state.available.get(model)?.size ?? 0) > 0) return true;
  for (const worker of state.workers.values()) if (!worker.draining && worker.models.has(model)) return true;
  return false;
}

function doesKind(state: LaneState, model: string, kind: JobKind): boolean {
  for (const worker of state.workers.values()) {
    if (!worker.draining && worker.models.get(model)?.kinds.includes(kind)) return true;
  }
  return false;
}

/** Whether a worker of this model can do what only some workers can do of this request. */
export function isMetBy(state: LaneState, model: string, request: JobRequest): boolean {
  const needs = needsOf(request);
  return needs.length === 0 || unmetNeed(needs, servingWorkers(state, model)) === undefined;
}

function servingWorkers(state: LaneState, model: string): Worker[] {
  return [...state.workers.values()].filter((worker) => !worker.draining && worker.models.has(model));
}

/** Where a waiting job stands, from 1; null when it does not wait. */
export function placeInQueue(state: LaneState, jobId: string): number | null {
  const job = state.jobs.get(jobId);
  const at = job?.state === "queued" ? (state.queues.get(job.model)?.indexOf(jobId) ?? -1) : -1;
  return at < 0 ? null : at + 1;
}

function violation(connection: string, reason: string): Effect {
  return { type: "close", connection, code: CLOSE.policyViolation, reason, violation: true };
}
