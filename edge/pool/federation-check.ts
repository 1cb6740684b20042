import { waitUntil } from "cloudflare:workers";
import { type FederationPolicy, federationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { SharedAnswer } from "../limits/shared-answer.ts";
import { changePolicy, readSwitches, removeAdminKey } from "./pool-policy.ts";
import type { ChangedPolicy, RemovedAdminKey } from "./pool-policy-rpc.ts";

export type FederationCheck =
  | { readonly open: true; readonly policy: FederationPolicy }
  /** `isKnown`: the switch was read and is off. Otherwise it could not be read, and may be readable soon. */
  | { readonly open: false; readonly code: "federation/disabled"; readonly isKnown: boolean };

const OFF: FederationCheck = Object.freeze({ open: false, code: "federation/disabled", isKnown: true });
const UNKNOWN: FederationCheck = Object.freeze({ open: false, code: "federation/disabled", isKnown: false });

/** Shared by all requests of this isolate. */
const switches = new SharedAnswer<FederationCheck>({
  keptMs: LIMITS.switchesSharedMs,
  lostMs: LIMITS.switchesLostMs,
});

/**
 * Checks the federation switch. Every federated endpoint checks it after the checks of the headers, and every call to a
 * peer checks it first. It fails closed: if `PoolPolicy` answers late, throws, has lost its state or returns an unknown
 * value, the switch counts as `off`. An isolate reads the switch at most once per `LIMITS.switchesSharedMs`, and a
 * request uses no answer that is older than that. So `off` holds for every request that arrives
 * `LIMITS.switchesSharedMs` after the change.
 */
export async function checkFederation(
  env: Pick<Env, "POOL_POLICY">,
  patienceMs: number = LIMITS.policyTimeoutMs,
): Promise<FederationCheck> {
  const answer = switches.known() ?? (await switches.get(() => askFederation(env), patienceMs));
  return answer?.value ?? UNKNOWN;
}

/**
 * As `checkFederation`, for open streams, which check every half second. A late answer closes the stream, so that it
 * ends within a second.
 */
export function recheckFederation(env: Pick<Env, "POOL_POLICY">): Promise<FederationCheck> {
  return checkFederation(env, LIMITS.streamPolicyMs);
}

/**
 * Changes the switches. `by`: the admin's token id. This isolate reads the switches again immediately; others do within
 * `LIMITS.switchesSharedMs`.
 */
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

/** Removes an admin key. The removal of the last one turns `accept_writes` off, so the switches are read again. */
export async function forgetAdminKey(env: Env, keyId: string, by: string): Promise<RemovedAdminKey> {
  try {
    return await removeAdminKey(env, keyId, by);
  } finally {
    switches.drop();
  }
}

/** The switches, also while federation is off; null when they cannot be read. For operators only. */
export async function readFederationPolicy(env: Pick<Env, "POOL_POLICY">): Promise<FederationPolicy | null> {
  try {
    const answer = federationPolicy.safeParse(await readSwitches(env));
    return answer.success ? answer.data : null;
  } catch {
    return null;
  }
}

function askFederation(env: Pick<Env, "POOL_POLICY">): Promise<FederationCheck> {
  const asked = readFederationPolicy(env).then((policy): FederationCheck => {
    if (policy === null) return UNKNOWN;
    return policy.federation === "on" ? { open: true, policy } : OFF;
  });
  // Other requests share this answer, so reading it must outlive a client that disconnects.
  waitUntil(asked);
  return asked;
}
