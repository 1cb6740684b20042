import { waitUntil } from "cloudflare:workers";
import { type FederationPolicy, federationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { SharedAnswer } from "../limits/shared-answer.ts";
import { changePolicy, readSwitches } from "./pool-policy.ts";
import type { ChangedPolicy } from "./pool-policy-rpc.ts";

export type FederationCheck =
  | { readonly open: true; readonly policy: FederationPolicy }
  /** `isSaid`: the switch says so; otherwise nobody could say, and may soon. */
  | { readonly open: false; readonly code: "federation/disabled"; readonly isSaid: boolean };

const OFF: FederationCheck = Object.freeze({ open: false, code: "federation/disabled", isSaid: true });
const UNKNOWN: FederationCheck = Object.freeze({ open: false, code: "federation/disabled", isSaid: false });

/** Of this isolate. */
const switches = new SharedAnswer<FederationCheck>({
  keptMs: LIMITS.switchesSharedMs,
  lostMs: LIMITS.switchesLostMs,
});

/**
 * The kill switch. Every federated endpoint asks it after the pure checks of the headers, and every call to a peer asks
 * it first. It fails closed: an object that is late, throws, has lost its state or says something unknown counts as `off`.
 * An isolate asks once in `switchesSharedMs` at most. A request uses no answer that was asked for longer before the request
 * arrived, so `off` holds for every request that arrives more than `switchesSharedMs` after the change.
 */
export async function checkFederation(
  env: Pick<Env, "POOL_POLICY">,
  patienceMs: number = LIMITS.policyTimeoutMs,
): Promise<FederationCheck> {
  const answer = switches.known() ?? (await switches.get(() => askFederation(env), patienceMs));
  return answer?.value ?? UNKNOWN;
}

/** For streams, which ask each half second: a late answer closes them, so that they end within a second. */
export function recheckFederation(env: Pick<Env, "POOL_POLICY">): Promise<FederationCheck> {
  return checkFederation(env, LIMITS.streamPolicyMs);
}

/** `by`: the admin's token id. This isolate asks anew at once; others do within `switchesSharedMs`. */
export async function changeFederationPolicy(
  env: Env,
  patch: Partial<FederationPolicy>,
  by: string,
): Promise<ChangedPolicy> {
  try {
    return await changePolicy(env, patch, by);
  } finally {
    switches.drop();
  }
}

/** The switches as they stand, also while they are off; null when they cannot be read. For the operator's eyes. */
export async function readFederationPolicy(env: Pick<Env, "POOL_POLICY">): Promise<FederationPolicy | null> {
  try {
    const said = federationPolicy.safeParse(await readSwitches(env));
    return said.success ? said.data : null;
  } catch {
    return null;
  }
}

function askFederation(env: Pick<Env, "POOL_POLICY">): Promise<FederationCheck> {
  const asked = readFederationPolicy(env).then((policy): FederationCheck => {
    if (policy === null) return UNKNOWN;
    return policy.federation === "on" ? { open: true, policy } : OFF;
  });
  // Other requests wait for this answer too, so the question must outlive a client that leaves.
  waitUntil(asked);
  return asked;
}
