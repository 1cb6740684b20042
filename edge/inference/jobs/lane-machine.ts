/**
 * The rules of a lane (docs/spec/inference.md#a-jobs-life, docs/spec/inference.md#dispatch): queue per model, pull credits, leases with fencing, requeueing, deadlines.
 *
 * Functions of state, event and time. The state is changed in place (a lane holds thousands of jobs), and what must
 * happen outside is returned as effects, in order. No clock, no randomness, no storage, no socket is touched here.
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { CLOSE, LIMITS } from "../../../schema/wire/limits.ts";
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import type { AgentFrame } from "../../../schema/wire/worker-frames.ts";
import { payDebt } from "../../limits/gcra-rules.ts";
import { mostAnswerBytes, mostAnswerTokens, textTooLarge, vectorsTooLarge } from "../answers/answer-size-rules.ts";
import {
  bytesOfLogprobs,
  hearDelta,
  hearDone,
  hearLogprobs,
  hearVector,
  nothingSaid,
} from "../answers/job-output-rules.ts";
import { freeVectors } from "../answers/vector-bytes.ts";
import type { JobName } from "../lane-rpc.ts";
import { drop, hasRoom, keep, type NoRoom, noRoomFor } from "./lane-memory-rules.ts";
import type {
  Effect,
  Failure,
  Job,
  JobEnd,
  LaneState,
  NewJob,
  Submission,
  Whole,
  Worker,
  WorkerModel,
  WorkerOffer,
} from "./lane-state.ts";
import { mayTryAgain } from "./retry-rules.ts";
import { doesKind, isServed, unmetBy } from "./served-models-rules.ts";
import { canMeet, needsOf } from "./worker-capability-rules.ts";

// ---- clients

/**
 * All parts of one request, of one model and kind: all of them wait or run, or none does.
 *
 * @param requestBytes what the request costs to hold, all parts together
 */
export function submit(
  state: LaneState,
  parts: readonly [NewJob, ...NewJob[]],
  requestBytes: number,
  nowMs: number,
): Submission {
  const [{ model, keyId }] = parts;
  const refusal = refusalOf(state, parts, requestBytes);
  if (refusal) return refusal;
  keep(state.bytes, keyId, "requests", requestBytes);
  const inputs = parts.reduce((sum, { request }) => sum + ("input" in request ? request.input.length : 0), 0);
  const whole = { requestBytes, inputs, jobs: parts.length, answerBytes: 0 };
  const jobs = parts.map((part) => enqueue(state, part, whole, nowMs));
  return { ok: true, jobs, effects: dispatch(state, model, nowMs) };
}

type Refused = Extract<Submission, { ok: false }>;

const NO_ROOM: Readonly<Record<NoRoom, Refused>> = {
  never: {
    ok: false,
    code: "http/body-too-large",
    message: "The request is larger than what the pool holds for one key.",
    remedy: "Send a smaller request.",
  },
  key: {
    ok: false,
    code: "inference/queue-full",
    message: "This key's requests that wait or run fill the memory that the pool has for one key.",
    remedy: "Wait until one of them has ended, then try again.",
  },
  lane: {
    ok: false,
    code: "inference/queue-full",
    message: "Requests and answers of all clients fill the memory that the pool has for them.",
  },
};

function refusalOf(state: LaneState, parts: readonly [NewJob, ...NewJob[]], requestBytes: number): Refused | null {
  const [{ model, kind, keyId, request, dialect }] = parts;
  if (!isServed(state, model)) {
    return { ok: false, code: state.knownModels.has(model) ? "inference/no-worker" : "inference/model-not-found" };
  }
  if (!doesKind(state, model, kind)) return { ok: false, code: "inference/unsupported-kind" };
  const unmet = unmetBy(state, model, request, dialect);
  if (unmet) return { ok: false, ...unmet };
  const noRoom = noRoomFor(state.bytes, keyId, "requests", requestBytes);
  if (noRoom !== null) return NO_ROOM[noRoom];
  return hasPlaces(state, model, keyId, parts.length) ? null : { ok: false, code: "inference/queue-full" };
}

function enqueue(state: LaneState, part: NewJob, whole: Whole, nowMs: number): Job {
  const job: Job = {
    ...part,
    whole,
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
    requestBytes: 0,
    needs: needsOf(part.request, part.dialect),
    contextTokens: 0,
    nextSeq: 0,
    relayedBytes: 0,
    relayedTokens: 0,
    saidBytes: 0,
    said: nothingSaid(),
    keptBytes: 0,
    isOverlong: false,
  };
  state.jobs.set(job.id, job);
  queueOf(state, job.model).push(job.id);
  return job;
}

/** What runs or waits and is called so by this key: by the id of one of its jobs, all parts of that request. */
export function jobsNamed(state: LaneState, { jobId, requestId }: JobName, keyId: string): string[] {
  const ofKey = [...state.jobs.values()].filter((job) => job.keyId === keyId);
  const group = ofKey.find((job) => job.id === jobId || job.group === jobId)?.group;
  const named = ofKey.filter((job) => (group === undefined ? job.requestId === requestId : job.group === group));
  return named.map(({ id }) => id);
}

/** The client left, or asked to stop. Nothing happens when the job has ended already. */
export function cancel(state: LaneState, jobId: string, code: ErrorCode): Effect[] {
  const job = state.jobs.get(jobId);
  if (!job) return [];
  return [...withdraw(state, job, "cancel"), end(state, job, { outcome: "cancelled", code })];
}

// ---- workers

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
    models: new Map(
      offer.models.map(({ name, slots, kinds, contextTokens = LIMITS.unknownContextTokens }) => [
        name,
        { slots, kinds, contextTokens, credit: 0 },
      ]),
    ),
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
  const lost = [...worker.jobs].flatMap((id) => state.jobs.get(id) ?? []);
  // Of one key: two jobs that end their worker must not be each other's excuse.
  const isAlone = new Set(lost.map(({ keyId }) => keyId)).size === 1 && !worker.draining;
  if (isAlone) for (const job of lost) job.lostAlone ??= job.attempts;
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
    case "logprobs":
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

/** What is held for jobs here; nothing when none waits or runs. */
export function heldForJobs({ jobs, queues, workers, bytes }: LaneState) {
  const all = [...workers.values()];
  return {
    jobs: jobs.size,
    queues: queues.size,
    queued: [...queues.values()].reduce((sum, queue) => sum + queue.length, 0),
    request_bytes: bytes.requests,
    answer_bytes: bytes.answers,
    keys: bytes.byKey.size,
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
  const rate = { burst: LIMITS.strayFramesPerSecond, periodMs: 1_000 };
  worker.strays = payDebt({ owed: worker.strays, atMs: worker.strayMs }, rate, nowMs).owed + 1;
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
  frame: Extract<AgentFrame, { type: "progress" | "delta" | "vector" | "logprobs" | "done" | "failed" }>,
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
      const bytes = utf8Bytes(text) + (toolCall?.name?.length ?? 0);
      job.saidBytes += bytes + utf8Bytes(toolCall?.id ?? "");
      if (isTooLong(job)) return overlong(state, job);
      job.nextSeq += 1;
      job.state = "streaming";
      job.relayedBytes += bytes;
      job.relayedTokens += tokens;
      const logprobs = toolCall ? [] : job.said.logprobs.splice(0);
      return [{ type: "text", job, text, ...(toolCall && { toolCall }), ...(logprobs.length > 0 && { logprobs }) }];
    }
    case "vector": {
      // Nothing of it has reached the client: a worker that is lost now loses nothing of the job.
      const reason = hearVector(job, job.said, frame);
      if (reason !== null) return [violation(worker.connection, reason)];
      if (frame.index > 0 || !("input" in job.request)) return [{ type: "accepted", job }];
      // Room for all vectors is taken with the first: they are of one length, and a job without room ends early.
      const vectorBytes = job.said.vectors[0]?.byteLength ?? 0;
      const tooLarge = vectorsTooLarge(job.whole.inputs, vectorBytes);
      if (tooLarge) return refuseAnswer(state, job, tooLarge);
      return keepAnswer(state, job, job.request.input.length * vectorBytes) ?? [{ type: "accepted", job }];
    }
    case "logprobs": {
      const reason = hearLogprobs(job, job.said, frame);
      if (reason !== null) return [violation(worker.connection, reason)];
      // Those of a stream go out with its next text, and are few.
      const bytes = job.request.stream ? 0 : bytesOfLogprobs(frame.tokens);
      return keepText(state, job, bytes) ?? [{ type: "accepted", job }];
    }
    case "done": {
      const reason = hearDone(job, job.said, frame);
      if (reason !== null) return [violation(worker.connection, reason)];
      const { finishReason, usage, text, toolCalls, stopSequence, countedTokens } = frame;
      const { metering, meteringSignature: signature } = frame;
      if (text !== undefined) {
        job.relayedBytes = utf8Bytes(text);
        job.saidBytes = 0;
        for (const call of toolCalls ?? []) {
          job.relayedBytes += call.name.length + utf8Bytes(call.arguments);
          job.saidBytes += utf8Bytes(call.id);
        }
        job.saidBytes += job.relayedBytes;
        if (isTooLong(job)) return overlong(state, job);
        const refused = keepText(state, job, job.saidBytes);
        if (refused) return refused;
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

const isTooLong = ({ request, contextTokens, saidBytes }: Job) => saidBytes > mostAnswerBytes(request, contextTokens);

/** No other worker gets the job: its client has seen some of the answer, or would pay for one more of this kind. */
function overlong(state: LaneState, job: Job): Effect[] {
  job.isOverlong = true;
  job.relayedTokens = Math.min(job.relayedTokens, mostAnswerTokens(job.request, job.contextTokens));
  return [
    ...withdraw(state, job, "rejected"),
    end(state, job, { outcome: "failed", code: "inference/answer-overlong" }),
  ];
}

/** Of an answer in one piece. The job's end, where that is too large or has no room. */
function keepText(state: LaneState, job: Job, bytes: number): Effect[] | null {
  const tooLarge = textTooLarge(job.whole.answerBytes + bytes);
  return tooLarge ? refuseAnswer(state, job, tooLarge) : keepAnswer(state, job, bytes);
}

/** The job's end, where there is no room. */
function keepAnswer(state: LaneState, job: Job, bytes: number): Effect[] | null {
  if (!hasRoom(state.bytes, job.keyId, "answers", bytes)) {
    return refuseAnswer(state, job, { code: "inference/answer-room" });
  }
  keep(state.bytes, job.keyId, "answers", bytes);
  job.keptBytes += bytes;
  job.whole.answerBytes += bytes;
  return null;
}

function refuseAnswer(state: LaneState, job: Job, why: Failure): Effect[] {
  return [...withdraw(state, job, "rejected"), end(state, job, { outcome: "failed", ...why })];
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

/** Hands queued jobs to workers with credit, first come first served (docs/spec/inference.md#dispatch). */
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
    job.contextTokens = offered.contextTokens;
    job.nextSeq = 0;
    job.relayedTokens = 0;
    job.saidBytes = 0;
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

/** Back to the front of the queue what has produced nothing; the end for the rest (docs/spec/inference.md#a-jobs-life). */
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

/** What a job that is done keeps in the lane's bytes is its reader's from here on (`live-answers.ts`). */
function end(state: LaneState, job: Job, jobEnd: JobEnd): Effect {
  if (job.connection) state.workers.get(job.connection)?.jobs.delete(job.id);
  if (jobEnd.outcome !== "done") forgetSaid(state, job);
  if (state.jobs.delete(job.id)) {
    job.whole.jobs -= 1;
    if (job.whole.jobs === 0) drop(state.bytes, job.keyId, "requests", job.whole.requestBytes);
  }
  return { type: "end", job, end: jobEnd };
}

/** What one key can fill is not all there is. */
function hasPlaces(state: LaneState, model: string, keyId: string, parts: number): boolean {
  const queue = state.queues.get(model) ?? [];
  const waiting = queue.length + Math.max(0, parts - creditFor(state, model));
  if (waiting === queue.length || waiting <= LIMITS.queuePerModel) return true;
  if (waiting > LIMITS.queuePerModel + LIMITS.queueReservePerModel) return false;
  return !queue.some((id) => state.jobs.get(id)?.keyId === keyId);
}

function creditFor(state: LaneState, model: string): number {
  let credit = 0;
  for (const connection of state.available.get(model) ?? []) {
    credit += state.workers.get(connection)?.models.get(model)?.credit ?? 0;
  }
  return credit;
}

function unassign(state: LaneState, job: Job): void {
  if (job.connection) state.workers.get(job.connection)?.jobs.delete(job.id);
  job.connection = null;
  forgetSaid(state, job);
}

function forgetSaid(state: LaneState, job: Job): void {
  drop(state.bytes, job.keyId, "answers", job.keptBytes);
  job.whole.answerBytes -= job.keptBytes;
  job.keptBytes = 0;
  freeVectors(job.said.vectors);
  job.said = nothingSaid();
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

/** Where a waiting job stands, from 1; null when it does not wait. */
export function placeInQueue(state: LaneState, jobId: string): number | null {
  const job = state.jobs.get(jobId);
  const at = job?.state === "queued" ? (state.queues.get(job.model)?.indexOf(jobId) ?? -1) : -1;
  return at < 0 ? null : at + 1;
}

function violation(connection: string, reason: string): Effect {
  return { type: "close", connection, code: CLOSE.policyViolation, reason, violation: true };
}
