/**
 * What an action is (docs/spec/federation.md#actions). `actions.ts` has the registry; the handler of each action is in its
 * own `…-action.ts`. Types only.
 */
import type { ActionName, ActionParams } from "../../../schema/wire/admin-requests.ts";
import type { Env } from "../../env.ts";

/** A request that our admin approved. */
export interface ApprovedRequest<Params> {
  /** Atom id of the pool whose admin asked. */
  readonly peer: string;
  /** Unique together with `peer`. */
  readonly requestId: string;
  readonly params: Params;
}

/** `result` travels in the callback, so it must be no larger than `LIMITS.actionResultBytes` as JSON. */
export type ActionResult =
  | { readonly ok: true; readonly result: Readonly<Record<string, unknown>> }
  /** For people: it travels in the callback. It names nothing that the peer may not know. */
  | { readonly ok: false; readonly error: string };

export interface Action<Name extends ActionName> {
  /** Whether the action can change an economic table, directly or not. It then runs only while `accept_settlement` is on. */
  readonly touchesEconomy: boolean;
  /** Whether an open slashing event blocks the request until an admin overrides it. */
  readonly heedsSlashing: boolean;
  /**
   * Runs the action. After a crash it is called again with the same request: a handler that changes anything records peer
   * and request id in the transaction of the change, and answers a repeat with what the first call answered.
   */
  run(env: Env, request: ApprovedRequest<ActionParams<Name>>): Promise<ActionResult>;
}
