/** What the tests of a lane's machines share: jobs, frames, a lane with workers, and readers of effects. */
import { expect } from "vitest";
import { submit, workerConnected, workerFrame } from "../../../edge/inference/jobs/lane-machine.ts";
import {
  type Effect,
  type LaneState,
  type NewJob,
  newLane,
  type WorkerOffer,
} from "../../../edge/inference/jobs/lane-state.ts";
import type { AgentFrame, Metering } from "../../../schema/wire/worker-frames.ts";

export type JobFrame = Exclude<AgentFrame, { type: "hello" }>;

export const MODEL = "m";
export const newJob = (id: string, { stream = true, model = MODEL } = {}): NewJob => ({
  id,
  group: id,
  keyId: "k",
  requestId: `request-${id}`,
  kind: "chat" as const,
  model,
  request: { messages: [{ role: "user" as const, content: "hi" }], stream },
});
export const offers = (name: string, slots: number) => [{ name, slots, kinds: ["chat" as const] }];
export const record = {} as Metering;
export const done = (jobId: string, lease: number, text?: string): JobFrame => ({
  type: "done",
  jobId,
  lease,
  finishReason: "stop",
  usage: { promptTokens: 1, completionTokens: 1 },
  metering: record,
  meteringSignature: "",
  ...(text !== undefined && { text }),
});
export const delta = (jobId: string, lease: number, seq = 0, text = "x"): JobFrame => ({
  type: "delta",
  jobId,
  lease,
  seq,
  text,
  tokens: 1,
});
export const ready = (received: number, free: number, model = MODEL): JobFrame => ({
  type: "ready",
  received,
  slots: [{ model, free }],
});

/** The offer of a worker on the connection of that name. */
export const offerOf = (
  connection: string,
  { workerId = `id-${connection}`, model = MODEL, slots = 4 } = {},
): WorkerOffer => ({ connection, workerId, engine: "llama", minor: 0, models: offers(model, slots) });

/** A lane with one connected worker per name, each with the given free slots. */
export function laneWith(workers: Record<string, number>): LaneState {
  const state = newLane(new Set([MODEL]));
  for (const [name, free] of Object.entries(workers)) {
    workerConnected(state, offerOf(name, { slots: 4 }), 0);
    workerFrame(state, name, ready(0, free), 0);
  }
  return state;
}
export const submitOne = (state: LaneState, job: NewJob, nowMs: number, requestBytes = 100) =>
  submit(state, [job], requestBytes, nowMs);
export function accept(state: LaneState, id: string, nowMs = 0, options = {}) {
  const submission = submitOne(state, newJob(id, options), nowMs);
  if (!submission.ok) throw new Error(submission.code);
  return { job: submission.jobs[0] ?? expect.fail(), effects: submission.effects };
}
export const jobOf = (state: LaneState, id: string) => state.jobs.get(id) ?? expect.fail(`no job ${id}`);
export const types = (effects: Effect[]) => effects.map((effect) => effect.type);
export const ends = (effects: Effect[]) =>
  effects.flatMap((effect) =>
    effect.type === "end" ? [[effect.job.id, effect.end.outcome === "done" ? "done" : effect.end.code]] : [],
  );
export const sentTo = (effects: Effect[]) =>
  effects.flatMap((effect) => (effect.type === "send-job" ? [[effect.connection, effect.job.id]] : []));
