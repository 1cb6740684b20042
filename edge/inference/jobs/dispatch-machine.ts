/**
 * Keeps the pull credit of workers, and sends waiting jobs to workers that have credit
 * (docs/spec/inference.md#dispatch). The lane never sends a worker more jobs than the credit that the worker gave.
 * `worker-choice-rules.ts` decides which job and which worker come next.
 */
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { AgentFrame } from "../../../schema/wire/worker-frames.ts";
import {
  type Effect,
  type LaneState,
  violation,
  type Worker,
  type WorkerModel,
  type WorkerOffer,
} from "./lane-state.ts";
import { grantLease } from "./lease-machine.ts";
import { takeFromQueue } from "./queue-machine.ts";
import { chooseWorkerAndJob } from "./worker-choice-rules.ts";

/** Sends waiting jobs of this model to workers with credit, until no such worker can run one. */
export function dispatch(state: LaneState, model: string, nowMs: number): Effect[] {
  const effects: Effect[] = [];
  for (;;) {
    const next = chooseWorkerAndJob(state, model, nowMs);
    if (next === null) return effects;
    const { job, queueIndex, worker, offered } = next;
    takeFromQueue(state, model, queueIndex);
    // Delete and add the worker, which moves it to the end: the most recently used worker is last.
    state.available.get(model)?.delete(worker.connection);
    setCredit(state, worker, model, offered, offered.credit - 1);
    worker.sent += 1;
    worker.inTransit.push({ n: worker.sent, model });
    grantLease(state, job, worker, offered, nowMs);
    effects.push({ type: "send-job", connection: worker.connection, job });
  }
}

/** As `dispatch`, for every model with waiting jobs: more workers may get jobs now. */
export function dispatchAll(state: LaneState, nowMs: number): Effect[] {
  return [...state.queues.keys()].flatMap((model) => dispatch(state, model, nowMs));
}

/** A worker states its free slots, and how many job frames it had received when it counted them. */
export function workerReady(
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
    if (!model || free > model.slots) {
      return [violation(worker.connection, "ready names slots that the manifest does not have")];
    }
    if (worker.draining) continue;
    // Jobs that the worker had not received when it counted will take some of these slots.
    const taken = worker.inTransit.filter((job) => job.model === name).length;
    setCredit(state, worker, name, model, Math.max(0, free - taken));
    effects.push(...dispatch(state, name, nowMs));
  }
  return effects;
}

/** Gives the worker no more jobs, because it drains or has disconnected. */
export function clearCredit(state: LaneState, worker: Worker): void {
  for (const [name, model] of worker.models) setCredit(state, worker, name, model, 0);
}

/** The state of a worker that has just connected. It has no credit yet. */
export function newWorker({ connection, workerId, engine, minor, models }: WorkerOffer, nowMs: number): Worker {
  return {
    connection,
    workerId,
    engine,
    minor,
    models: new Map(
      models.map(({ name, slots, kinds, contextTokens = LIMITS.unknownContextTokens }) => [
        name,
        { slots, kinds, contextTokens, credit: 0 },
      ]),
    ),
    jobs: new Set(),
    sent: 0,
    inTransit: [],
    staleFrames: 0,
    staleFramesAtMs: nowMs,
    draining: false,
  };
}

/**
 * The part of a worker's credit that must survive hibernation. `credits` are in the order of the models of its offer.
 */
export interface RememberedCredit {
  readonly sent: number;
  readonly credits: readonly number[];
  readonly draining: boolean;
}

/** The credit of a worker, to be stored for hibernation; undefined for an unknown connection. */
export function creditOf(
  state: LaneState,
  connection: string,
): { sent: number; credits: number[]; draining: boolean } | undefined {
  const worker = state.workers.get(connection);
  if (!worker) return undefined;
  const { sent, draining } = worker;
  return { sent, credits: [...worker.models.values()].map((model) => model.credit), draining };
}

/** Gives a worker the credit that it had before hibernation. */
export function restoreCredit(state: LaneState, worker: Worker, remembered: RememberedCredit): void {
  worker.sent = remembered.sent;
  worker.draining = remembered.draining;
  for (const [i, [name, model]] of [...worker.models].entries()) {
    setCredit(state, worker, name, model, remembered.credits[i] ?? 0);
  }
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
