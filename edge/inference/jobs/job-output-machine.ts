/**
 * Takes the frames of a worker about a job whose lease it holds: progress, pieces of output, the end. A frame that
 * breaks the rules of `job-output-rules.ts` closes the worker's connection. Output beyond its limits ends the job.
 */
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import type { AgentFrame } from "../../../schema/wire/worker-frames.ts";
import { mostAnswerBytes, mostAnswerTokens, vectorsTooLarge } from "../answers/answer-size-rules.ts";
import {
  bytesOfLogprobs,
  validateDelta,
  validateDone,
  validateLogprobs,
  validateVector,
} from "../answers/job-output-rules.ts";
import { holdOutput, holdText } from "./held-output-rules.ts";
import { endJob, refuseOutput } from "./job-end-machine.ts";
import { type Effect, type Job, type LaneState, violation, type Worker } from "./lane-state.ts";
import { workerFailed } from "./retry-machine.ts";
import { noteDone } from "./worker-health-machine.ts";

type Frame<T extends AgentFrame["type"]> = Extract<AgentFrame, { type: T }>;

/** Frames that name a job and its lease. */
export type JobFrame = Frame<"progress" | "delta" | "vector" | "logprobs" | "done" | "failed">;

/** Handles one such frame. The caller has checked that the worker holds the lease. */
export function receiveJobFrame(state: LaneState, job: Job, worker: Worker, frame: JobFrame, nowMs: number): Effect[] {
  switch (frame.type) {
    case "progress":
      return [{ type: "accepted", job }];
    case "delta":
      return receiveDelta(state, job, worker, frame);
    case "vector":
      return receiveVector(state, job, worker, frame);
    case "logprobs":
      return receiveLogprobs(state, job, worker, frame);
    case "done":
      return receiveDone(state, job, worker, frame, nowMs);
    case "failed":
      return workerFailed(state, job, worker, frame, nowMs);
    default:
      return frame satisfies never;
  }
}

function receiveDelta(state: LaneState, job: Job, { connection }: Worker, frame: Frame<"delta">): Effect[] {
  if (frame.seq !== job.nextSeq) return [violation(connection, "a delta out of sequence")];
  const problem = validateDelta(job, job.output, frame);
  if (problem !== null) return [violation(connection, problem)];
  const { text, tokens, toolCall } = frame;
  const bytes = utf8Bytes(text) + (toolCall?.name?.length ?? 0);
  job.textBytes += bytes + utf8Bytes(toolCall?.id ?? "");
  if (isTooLong(job)) return endOverlong(state, job);
  job.nextSeq += 1;
  job.state = "streaming";
  job.relayedBytes += bytes;
  job.relayedTokens += tokens;
  const logprobs = toolCall ? [] : job.output.logprobs.splice(0);
  return [{ type: "text", job, text, ...(toolCall && { toolCall }), ...(logprobs.length > 0 && { logprobs }) }];
}

/** The client gets vectors only when the job is done. A job whose worker is lost before that can run again. */
function receiveVector(state: LaneState, job: Job, { connection }: Worker, frame: Frame<"vector">): Effect[] {
  const problem = validateVector(job, job.output, frame);
  if (problem !== null) return [violation(connection, problem)];
  if (frame.index > 0 || !("input" in job.request)) return [{ type: "accepted", job }];
  // Take the memory for all vectors with the first one: all have the same length, and a job for which there is no room
  // ends early.
  const vectorBytes = job.output.vectors[0]?.byteLength ?? 0;
  const refusal =
    vectorsTooLarge(job.totals.inputs, vectorBytes) ?? holdOutput(state, job, job.request.input.length * vectorBytes);
  return refusal ? refuseOutput(state, job, refusal) : [{ type: "accepted", job }];
}

function receiveLogprobs(state: LaneState, job: Job, { connection }: Worker, frame: Frame<"logprobs">): Effect[] {
  const problem = validateLogprobs(job, job.output, frame);
  if (problem !== null) return [violation(connection, problem)];
  // A stream sends log probabilities with its next text. They are few, so they need no memory of the lane.
  const bytes = job.request.stream ? 0 : bytesOfLogprobs(frame.tokens);
  const refusal = holdText(state, job, bytes);
  return refusal ? refuseOutput(state, job, refusal) : [{ type: "accepted", job }];
}

function receiveDone(
  state: LaneState,
  job: Job,
  { connection }: Worker,
  frame: Frame<"done">,
  nowMs: number,
): Effect[] {
  const problem = validateDone(job, job.output, frame);
  if (problem !== null) return [violation(connection, problem)];
  const { finishReason, usage, text, toolCalls, stopSequence, countedTokens } = frame;
  const { metering, meteringSignature: signature } = frame;
  if (text !== undefined) {
    job.relayedBytes = utf8Bytes(text);
    job.textBytes = 0;
    for (const call of toolCalls ?? []) {
      job.relayedBytes += call.name.length + utf8Bytes(call.arguments);
      job.textBytes += utf8Bytes(call.id);
    }
    job.textBytes += job.relayedBytes;
    if (isTooLong(job)) return endOverlong(state, job);
    const refusal = holdText(state, job, job.textBytes);
    if (refusal) return refuseOutput(state, job, refusal);
  }
  const answer = { finishReason, usage, text, toolCalls, stopSequence, countedTokens };
  noteDone(state, job, nowMs);
  return [endJob(state, job, { outcome: "done", ...answer, metering, signature })];
}

const isTooLong = ({ request, contextTokens, textBytes }: Job) => textBytes > mostAnswerBytes(request, contextTokens);

/**
 * Ends a job whose output is too long. No other worker gets it: its client already has part of the answer, or would pay
 * for a second answer of this length.
 */
function endOverlong(state: LaneState, job: Job): Effect[] {
  job.isOverlong = true;
  job.relayedTokens = Math.min(job.relayedTokens, mostAnswerTokens(job.request, job.contextTokens));
  return refuseOutput(state, job, { code: "inference/answer-overlong" });
}
