/**
 * The life of a request that a peer's admin sent to this pool (docs/spec/federation.md#admin-requests). A request is decided
 * once and its action runs once; a repeated event is answered with the state that it finds.
 */
import type { RequestStatus } from "../../../schema/wire/admin-requests.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Persisted contract: in the peer's `Bond`. */
export interface RequestState {
  readonly status: RequestStatus;
  readonly receivedAtMs: number;
  readonly expiresAtMs: number;
}

export type RequestEvent =
  /** Our admin says yes, and the guards were asked again (`approveRequest`). */
  | { readonly type: "approve" }
  | { readonly type: "reject" }
  /** The alarm. */
  | { readonly type: "time" }
  /** The action's handler has answered. */
  | { readonly type: "ran"; readonly isDone: boolean }
  /** All tries to call back have failed, or the peer said that it will never take the callback. */
  | { readonly type: "callback-given-up" };

/** `next`: what follows the commit. The alarm repeats it after a crash, until its own event has been stored. */
export type RequestStep =
  | { readonly ok: true; readonly state: RequestState; readonly next: "run" | "call-back" | "nothing" }
  | { readonly ok: false; readonly code: "federation/request-decided" };

export function arrived(status: "pending" | "blocked", nowMs: number): RequestState {
  return { status, receivedAtMs: nowMs, expiresAtMs: nowMs + LIMITS.adminRequestMs };
}

/** Whether the request counts as pending. */
export function isOpen({ status }: Pick<RequestState, "status">): boolean {
  return status === "pending" || status === "blocked";
}

export function step(state: RequestState, event: RequestEvent, nowMs: number): RequestStep {
  const to = (status: RequestStatus, next: "run" | "call-back" | "nothing"): RequestStep => ({
    ok: true,
    state: { ...state, status },
    next,
  });
  const unchanged: RequestStep = { ok: true, state, next: "nothing" };
  const decided: RequestStep = { ok: false, code: "federation/request-decided" };
  const isExpired = nowMs >= state.expiresAtMs;
  switch (event.type) {
    case "approve":
      // A second click finds the request approved, and runs nothing.
      if (wasApproved(state.status)) return unchanged;
      if (!isOpen(state) || isExpired) return decided;
      return to("approved", "run");
    case "reject":
      if (state.status === "rejected") return unchanged;
      return isOpen(state) && !isExpired ? to("rejected", "call-back") : decided;
    case "time":
      return isOpen(state) && isExpired ? to("expired", "call-back") : unchanged;
    case "ran":
      return state.status === "approved" ? to(event.isDone ? "executed" : "failed", "call-back") : unchanged;
    case "callback-given-up":
      return state.status === "executed" ? to("executed_no_callback", "nothing") : unchanged;
    default:
      return event satisfies never;
  }
}

function wasApproved(status: RequestStatus): boolean {
  return status === "approved" || status === "executed" || status === "executed_no_callback" || status === "failed";
}
