/**
 * The life of a request that our admin sent to a peer's admin (docs/spec/federation.md#admin-requests). Messages may arrive
 * late, repeated and in any order: a final state is never changed, but for the expiry, which only this pool decided.
 */
import type { SentStatus } from "../../../schema/wire/admin-requests.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

/** Persisted contract: in the peer's `Bond`. */
export interface SentState {
  readonly status: SentStatus;
  readonly sentAtMs: number;
  readonly expiresAtMs: number;
}

type Final = "approved" | "rejected" | "expired" | "executed" | "failed";

export type SentEvent =
  /** The peer has stored the request. `decided`: it says that it has decided already, and its callback will follow. */
  | { readonly type: "accepted"; readonly status: "pending" | "blocked" | "decided" }
  | { readonly type: "refused" }
  | { readonly type: "called-back"; readonly status: Final }
  /** The alarm. */
  | { readonly type: "time" };

/** `isNews`: the state has changed. A repeated message changes nothing and is no error. */
export type SentStep =
  | { readonly ok: true; readonly state: SentState; readonly isNews: boolean }
  | { readonly ok: false; readonly code: "federation/request-decided" };

export function sent(nowMs: number): SentState {
  return { status: "sending", sentAtMs: nowMs, expiresAtMs: nowMs + LIMITS.adminRequestMs };
}

/** Whether the request still waits for the peer. */
export function isAwaited({ status }: Pick<SentState, "status">): boolean {
  return status === "sending" || status === "pending" || status === "blocked";
}

export function stepSent(state: SentState, event: SentEvent, nowMs: number): SentStep {
  const to = (status: SentStatus): SentStep => ({
    ok: true,
    state: { ...state, status },
    isNews: status !== state.status,
  });
  const unchanged = to(state.status);
  switch (event.type) {
    case "accepted":
      // An answer that was delayed must not undo the callback that overtook it.
      if (!isAwaited(state)) return unchanged;
      return to(event.status === "decided" ? "pending" : event.status);
    case "refused":
      return isAwaited(state) ? to("refused") : unchanged;
    case "called-back":
      if (state.status === event.status || mayFollow(state.status, event.status)) return to(event.status);
      return { ok: false, code: "federation/request-decided" };
    case "time":
      return isAwaited(state) && nowMs >= state.expiresAtMs ? to("expired") : unchanged;
    default:
      return event satisfies never;
  }
}

/**
 * A pool of the existing network may say `approved` before `executed`. After our own expiry the peer's decision still tells
 * what happened there.
 */
function mayFollow(before: SentStatus, next: Final): boolean {
  if (before === "approved") return next === "executed" || next === "failed";
  return before === "expired" || isAwaited({ status: before });
}
