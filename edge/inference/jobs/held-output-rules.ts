/** Counts the output of a running job in the lane's memory, until the client's answer takes it over or the job ends. */
import { textTooLarge } from "../answers/answer-size-rules.ts";
import { emptyOutput } from "../answers/job-output-rules.ts";
import { freeVectors } from "../answers/vector-bytes.ts";
import { addBytes, hasRoom, removeBytes } from "./lane-memory-rules.ts";
import type { Failure, Job, LaneState } from "./lane-state.ts";

/** Takes memory for more output. Returns the failure of the job if there is no room; otherwise null. */
export function holdOutput(state: LaneState, job: Job, bytes: number): Failure | null {
  if (!hasRoom(state.memory, job.keyId, "answers", bytes)) return { code: "inference/answer-room" };
  addBytes(state.memory, job.keyId, "answers", bytes);
  job.heldBytes += bytes;
  job.totals.outputBytes += bytes;
  return null;
}

/** As `holdOutput`, for the text of an answer that is not streamed, which has a limit of its own. */
export function holdText(state: LaneState, job: Job, bytes: number): Failure | null {
  return textTooLarge(job.totals.outputBytes + bytes) ?? holdOutput(state, job, bytes);
}

/** Frees the output of a job and the memory that it holds. */
export function discardOutput(state: LaneState, job: Job): void {
  removeBytes(state.memory, job.keyId, "answers", job.heldBytes);
  job.totals.outputBytes -= job.heldBytes;
  job.heldBytes = 0;
  freeVectors(job.output.vectors);
  job.output = emptyOutput();
}
