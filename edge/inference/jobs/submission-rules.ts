/**
 * Decides whether a lane takes a new request (docs/spec/inference.md#queues): by its model, its kind, the capabilities
 * of workers, and the room.
 */
import { type NoRoom, noRoomFor } from "./lane-memory-rules.ts";
import type { LaneState, NewJob, Submission } from "./lane-state.ts";
import { hasQueueRoom } from "./queue-machine.ts";
import { doesKind, isServed, unmetRequirementOf } from "./served-models-rules.ts";

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

/** The refusal of a request with all of its parts; null if the lane takes it. */
export function refusalOf(
  state: LaneState,
  parts: readonly [NewJob, ...NewJob[]],
  requestBytes: number,
): Refused | null {
  const [{ model, kind, keyId, request, dialect }] = parts;
  if (!isServed(state, model)) {
    return { ok: false, code: state.knownModels.has(model) ? "inference/no-worker" : "inference/model-not-found" };
  }
  if (!doesKind(state, model, kind)) return { ok: false, code: "inference/unsupported-kind" };
  const unmet = unmetRequirementOf(state, model, request, dialect);
  if (unmet) return { ok: false, ...unmet };
  const noRoom = noRoomFor(state.memory, keyId, "requests", requestBytes);
  if (noRoom !== null) return NO_ROOM[noRoom];
  return hasQueueRoom(state, model, keyId, parts.length) ? null : { ok: false, code: "inference/queue-full" };
}
