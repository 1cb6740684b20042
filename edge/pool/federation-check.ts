import { type FederationPolicy, federationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { askSwitches } from "./pool-policy.ts";

export type FederationCheck =
  | { readonly open: true; readonly policy: FederationPolicy }
  /** `isSaid`: the switch says so; otherwise nobody could say, and may soon. */
  | { readonly open: false; readonly code: "federation/disabled"; readonly isSaid: boolean };

const OFF: FederationCheck = Object.freeze({ open: false, code: "federation/disabled", isSaid: true });
const UNKNOWN: FederationCheck = Object.freeze({ open: false, code: "federation/disabled", isSaid: false });

/**
 * The kill switch (SPEC 3.5): asked before anything else by every federated endpoint and every call to a peer. It fails
 * closed: an object that is late, throws, has lost its state or says what is not understood is one that says `off`.
 * Never cached: the operator's `off` holds from the next request on.
 */
export async function checkFederation(env: Pick<Env, "POOL_POLICY">): Promise<FederationCheck> {
  try {
    const said = federationPolicy.safeParse(await askSwitches(env));
    if (!said.success) return UNKNOWN;
    return said.data.federation === "on" ? { open: true, policy: said.data } : OFF;
  } catch {
    return UNKNOWN;
  }
}

/** The newest answer of this isolate: a value, since a promise belongs to the request that made it. */
let recent: { atMs: number; answer: FederationCheck } | null = null;

/**
 * For streams, which ask each half second: those of one isolate share an answer of a tenth of a second's age, so
 * that a thousand streams do not ask a thousand times; one that is late closes them, so that they end within a second.
 */
export async function recheckFederation(env: Pick<Env, "POOL_POLICY">): Promise<FederationCheck> {
  const nowMs = Date.now();
  if (recent !== null && nowMs >= recent.atMs && nowMs - recent.atMs < LIMITS.streamCheckMs / 5) return recent.answer;
  const answer = await Promise.race([checkFederation(env), unknownAfter(LIMITS.streamPolicyMs)]);
  recent = { atMs: nowMs, answer };
  return answer;
}

function unknownAfter(ms: number): Promise<FederationCheck> {
  return new Promise((resolve) => setTimeout(() => resolve(UNKNOWN), ms));
}

/** The switches as they stand, also while they are off; null when they cannot be read. For the operator's eyes. */
export async function readFederationPolicy(env: Pick<Env, "POOL_POLICY">): Promise<FederationPolicy | null> {
  try {
    const said = federationPolicy.safeParse(await askSwitches(env));
    return said.success ? said.data : null;
  } catch {
    return null;
  }
}
