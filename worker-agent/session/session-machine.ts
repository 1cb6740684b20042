import type { JobFrame, PoolFrame } from "../../schema/wire/worker-frames.ts";
import type { JobFailure, ModelOffer } from "../engine/engine.ts";

/**
 * The agent's side of the socket protocol (docs/spec/workers.md#socket-protocol): which frames and events lead to which
 * actions.
 *
 * Never: a job starts without a free slot or after a drain; a slot is offered while an engine still computes in it; one
 * lease starts twice.
 */
export interface Session {
  readonly phase: "greeting" | "proving" | "open";
  readonly draining: boolean;
  /** Job frames received on this socket. By this number the pool knows which jobs our last `ready` did not count. */
  readonly received: number;
  /** Every run that may still compute, including aborted ones. */
  readonly runs: readonly Run[];
}

interface Run {
  readonly jobId: string;
  readonly lease: number;
  readonly model: string;
  readonly aborted: boolean;
}

/** Constant while a socket is open. */
export interface SessionTerms {
  /** The atom id in our token. The agent proves its key to no other pool (docs/spec/workers.md#enrolment). */
  readonly pool: string;
  readonly worker: string;
  readonly models: readonly ModelOffer[];
}

export type SessionEvent =
  | { readonly type: "frame"; readonly frame: PoolFrame }
  /** A run has ended, successfully or not. Its engine computes nothing more for it. */
  | { readonly type: "ended"; readonly jobId: string; readonly lease: number }
  | { readonly type: "drain" };

export type SessionAction =
  | { readonly type: "prove"; readonly nonce: string }
  | { readonly type: "welcomed"; readonly heartbeatMs: number; readonly leaseMs: number; readonly frameBytes: number }
  | { readonly type: "ready"; readonly received: number; readonly slots: { model: string; free: number }[] }
  | { readonly type: "start"; readonly job: JobFrame }
  | { readonly type: "abort"; readonly jobId: string; readonly lease: number }
  | {
      readonly type: "refuse";
      readonly job: JobFrame;
      readonly code: JobFailure;
      readonly message: string;
      readonly retryable: boolean;
    }
  /** The pool reports requests for models that this worker does not serve. */
  | { readonly type: "elsewhere"; readonly jobs: number }
  | { readonly type: "announce-drain" }
  /** The agent drains, and no job is left. */
  | { readonly type: "drained" };

export type SessionStep =
  | { readonly ok: true; readonly session: Session; readonly actions: readonly SessionAction[] }
  | { readonly ok: false; readonly code: "session/wrong-pool" | "session/wrong-worker" | "session/unexpected-frame" };

export const newSession: Session = { phase: "greeting", draining: false, received: 0, runs: [] };

/** The next state after an event, and the actions to take, in order. */
export function step(session: Session, event: SessionEvent, terms: SessionTerms): SessionStep {
  switch (event.type) {
    case "frame":
      return onFrame(session, event.frame, terms);
    case "ended":
      return onEnded(session, event, terms);
    case "drain":
      return onDrain(session);
    default:
      return event satisfies never;
  }
}

function onFrame(session: Session, frame: PoolFrame, terms: SessionTerms): SessionStep {
  switch (frame.type) {
    case "challenge":
      if (session.phase !== "greeting") return refused("session/unexpected-frame");
      // Prove the key only to the pool that the token names. Then another server cannot relay our proof, and a wrong
      // URL is noticed immediately.
      if (frame.pool !== terms.pool) return refused("session/wrong-pool");
      return go({ ...session, phase: "proving" }, { type: "prove", nonce: frame.nonce });
    case "welcome": {
      if (session.phase !== "proving") return refused("session/unexpected-frame");
      if (frame.worker !== terms.worker) return refused("session/wrong-worker");
      const open: Session = { ...session, phase: "open" };
      const { heartbeatMs, leaseMs, agentFrameBytes } = frame;
      const welcomed: SessionAction = { type: "welcomed", heartbeatMs, leaseMs, frameBytes: agentFrameBytes };
      return open.draining ? go(open, welcomed, { type: "drained" }) : go(open, welcomed, ready(open, terms));
    }
    case "job":
      if (session.phase !== "open") return refused("session/unexpected-frame");
      return onJob({ ...session, received: session.received + 1 }, frame, terms);
    case "elsewhere":
      if (session.phase !== "open") return refused("session/unexpected-frame");
      return go(session, frame);
    case "cancel":
    case "rejected": {
      if (session.phase !== "open") return refused("session/unexpected-frame");
      // The job has just ended, or the frame is about an older lease.
      const run = session.runs.find((it) => isRun(it, frame) && !it.aborted);
      if (run === undefined) return go(session);
      return go(abortRun(session, frame), { type: "abort", jobId: frame.jobId, lease: frame.lease });
    }
    default:
      return frame satisfies never;
  }
}

function onJob(session: Session, job: JobFrame, terms: SessionTerms): SessionStep {
  const known = session.runs.filter((run) => run.jobId === job.jobId);
  // Lease numbers only grow. The same or a smaller one is a repeat, which we have answered already.
  if (known.some((run) => run.lease >= job.lease)) return go(session);

  const superseded = known.filter((run) => !run.aborted);
  const aborts = superseded.map(({ jobId, lease }): SessionAction => ({ type: "abort", jobId, lease }));
  const current = superseded.reduce(abortRun, session);

  const refuse = (code: JobFailure, retryable: boolean, message: string): SessionStep => {
    const actions: SessionAction[] = [...aborts, { type: "refuse", job, code, message, retryable }];
    // The pool subtracted a credit for this job. Send `ready` again, or that credit is lost.
    return go(current, ...actions, ...(current.draining ? [] : [ready(current, terms)]));
  };
  const offer = terms.models.find((it) => it.name === job.model);
  if (current.draining) return refuse("inference/worker-busy", true, "This worker takes no more jobs.");
  if (offer === undefined) return refuse("inference/model-not-found", true, "This worker does not have that model.");
  if (!offer.kinds.includes(job.kind)) {
    return refuse("http/unsupported-parameter", false, "This model does not do that kind of job.");
  }
  if (freeSlots(current, offer) === 0) return refuse("inference/worker-busy", true, "This worker has no free slot.");

  const run: Run = { jobId: job.jobId, lease: job.lease, model: job.model, aborted: false };
  // No `ready` here: the pool has already counted this job.
  return go({ ...current, runs: [...current.runs, run] }, ...aborts, { type: "start", job });
}

function onEnded(session: Session, ended: { jobId: string; lease: number }, terms: SessionTerms): SessionStep {
  const after: Session = { ...session, runs: session.runs.filter((run) => !isRun(run, ended)) };
  if (!after.draining) return go(after, ready(after, terms));
  return after.runs.length === 0 ? go(after, { type: "drained" }) : go(after);
}

function onDrain(session: Session): SessionStep {
  if (session.draining) return go(session);
  const draining: Session = { ...session, draining: true };
  const announce: SessionAction[] = session.phase === "open" ? [{ type: "announce-drain" }] : [];
  return session.runs.length === 0 ? go(draining, ...announce, { type: "drained" }) : go(draining, ...announce);
}

function ready(session: Session, terms: SessionTerms): SessionAction {
  const slots = terms.models.map((offer) => ({ model: offer.name, free: freeSlots(session, offer) }));
  return { type: "ready", received: session.received, slots };
}

function freeSlots(session: Session, offer: ModelOffer): number {
  return Math.max(0, offer.slots - session.runs.filter((run) => run.model === offer.name).length);
}

function abortRun(session: Session, which: { jobId: string; lease: number }): Session {
  return { ...session, runs: session.runs.map((run) => (isRun(run, which) ? { ...run, aborted: true } : run)) };
}

const isRun = (run: Run, which: { jobId: string; lease: number }) =>
  run.jobId === which.jobId && run.lease === which.lease;

const go = (session: Session, ...actions: SessionAction[]): SessionStep => ({ ok: true, session, actions });

const refused = (code: Extract<SessionStep, { ok: false }>["code"]): SessionStep => ({ ok: false, code });
