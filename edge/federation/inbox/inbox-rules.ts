/**
 * What a peer's admin request meets on arrival, and at our admin's decision: guards, then the request's state
 * (docs/spec/federation.md#admin-requests). The caller stores each outcome in the transaction in which it asked.
 */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { type GuardContext, passGuards, type Stopped } from "./guard-rules.ts";
import { arrived, type RequestState, type RequestStep, step } from "./received-request-machine.ts";

/** A request that this pool has stored under the same peer and request id. */
export interface KnownRequest {
  readonly state: RequestState;
  /** Hash of everything that the peer asked for. */
  readonly contentsHash: string;
}

export type Arrival =
  | { readonly type: "landed"; readonly state: RequestState }
  /** The peer has sent the same request before: it gets the stored state, and nothing happens again. */
  | { readonly type: "repeated"; readonly state: RequestState }
  | Stopped
  | { readonly type: "reused"; readonly code: "federation/request-id-reused" };

/** Steps 1 and 2 come before the lookup, so that a peer without trust learns nothing about stored requests. */
export function receiveRequest(known: KnownRequest | null, contentsHash: string, context: GuardContext): Arrival {
  const verdict = passGuards(context, "arrival");
  if (verdict.type === "stopped" && verdict.step <= 2) return verdict;
  if (known !== null) {
    return known.contentsHash === contentsHash
      ? { type: "repeated", state: known.state }
      : { type: "reused", code: "federation/request-id-reused" };
  }
  if (verdict.type === "stopped") return verdict;
  return { type: "landed", state: arrived(verdict.type === "blocked" ? "blocked" : "pending", context.nowMs) };
}

export type Approval =
  | RequestStep
  | { readonly ok: false; readonly code: ErrorCode; readonly retryAfterSeconds?: number };

/** `hasReason`: the admin overrides the slashing guard. No other guard can be overridden. */
export function approveRequest(state: RequestState, hasReason: boolean, context: GuardContext): Approval {
  const approved = step(state, { type: "approve" }, context.nowMs);
  // A decided or expired request answers what it is, whatever the guards would say now.
  if (!approved.ok || approved.next === "nothing") return approved;
  const verdict = passGuards(context, "approval");
  if (verdict.type === "stopped") {
    const { code, retryAfterSeconds } = verdict;
    return { ok: false, code, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) };
  }
  // A blocked request whose slashing events are closed by now needs no override.
  if (verdict.type === "blocked" && !hasReason) return { ok: false, code: "federation/slashing-pending" };
  return approved;
}
