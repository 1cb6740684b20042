/** The registry of actions: what this pool does when its admin approves a peer's request (docs/spec/federation.md#actions). */
import { ACTIONS, type ActionName, type ActionParams } from "../../../schema/wire/admin-requests.ts";
import type { Env } from "../../env.ts";
import type { Action, ActionResult } from "./action.ts";
import { circuitReset } from "./circuit-reset-action.ts";
import type { ActionKind } from "./guard-rules.ts";
import { queryEvents } from "./query-events-action.ts";

/** Every action of the wire has a handler: the compiler asks for it. */
export const HANDLERS: { readonly [Name in ActionName]: Action<Name> } = {
  query_events: queryEvents,
  circuit_reset: circuitReset,
};

/** What the guards must know of an action. */
export interface ActionTraits {
  readonly kind: ActionKind;
  readonly touchesEconomy: boolean;
  readonly heedsSlashing: boolean;
}

export function isKnownAction(name: string): name is ActionName {
  return Object.hasOwn(HANDLERS, name);
}

export function traitsOf(name: ActionName): ActionTraits {
  const { touchesEconomy, heedsSlashing } = HANDLERS[name];
  return { kind: ACTIONS[name].kind, touchesEconomy, heedsSlashing };
}

export type ReadParams =
  | { readonly ok: true; readonly params: Readonly<Record<string, unknown>> }
  /** `param`: the parameter that the action refuses, as in the body. */
  | { readonly ok: false; readonly param: string };

/** Reads the parameters by the action's schema, with its defaults. */
export function readParams(name: ActionName, given: unknown): ReadParams {
  const read = ACTIONS[name].params.safeParse(given);
  if (read.success) return { ok: true, params: read.data };
  const [issue] = read.error.issues;
  const keys = issue?.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
  return { ok: false, param: ["action_params", ...(issue?.path ?? []), ...keys].map(String).join(".").slice(0, 100) };
}

/** Runs the action of an approved request. `given`: the parameters as the peer sent them. */
export async function runAction(
  env: Env,
  name: string,
  { given, ...request }: { peer: string; requestId: string; given: unknown },
): Promise<ActionResult> {
  // It was known when the request landed: another release has run since.
  if (!isKnownAction(name)) return { ok: false, error: "This pool does not know that action any more." };
  const read = readParams(name, given);
  // They were valid when the request landed: another release has run since.
  if (!read.ok) return { ok: false, error: `This pool does not accept ${read.param} any more.` };
  // `readParams` has checked that the parameters belong to this action.
  const { run } = HANDLERS[name] as Action<ActionName>;
  return run(env, { ...request, params: read.params as ActionParams<ActionName> });
}
