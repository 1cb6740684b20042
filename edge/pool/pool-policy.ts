/** The functions that call the pool's only `PoolPolicy`. Each rejects when the object does not answer in time. */
import type { AdminKey } from "../../schema/wire/admin-keys.ts";
import type { FederationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { inTime } from "../limits/timeout.ts";
import { policyForAdmins, policyForReaders } from "./pool-policy-for.ts";
import type {
  AddedAdminKey,
  ChangedPolicy,
  NewAdminKey,
  PoolSettings,
  RemovedAdminKey,
  SettingsChange,
} from "./pool-policy-rpc.ts";

type Namespace = Pick<Env, "POOL_POLICY">;

/** The settings of the pool. */
export async function poolSettings(env: Namespace): Promise<PoolSettings> {
  return withTimeout(policyForReaders(env).read());
}

/** `event` records the change in the log; `publishPolicyChanges` sends it. */
export async function changePoolSettings(
  env: Namespace,
  patch: Partial<PoolSettings>,
  event: SettingsChange,
): Promise<PoolSettings> {
  return withTimeout(policyForAdmins(env).change(patch, event));
}

/** `by`: the admin's token id. `publishPolicyChanges` sends the event that records the change. */
export async function changePolicy(
  env: Namespace,
  patch: Partial<FederationPolicy>,
  by: string,
): Promise<ChangedPolicy> {
  return withTimeout(policyForAdmins(env).changeFederation(patch, by));
}

/** The registered admin keys, of peers' admins and of this pool's. */
export function adminKeys(env: Namespace): Promise<readonly AdminKey[]> {
  return withTimeout(policyForReaders(env).adminKeys());
}

/** `by`: the admin's token id. */
export function addAdminKey(env: Namespace, key: NewAdminKey, by: string): Promise<AddedAdminKey> {
  return withTimeout(policyForAdmins(env).addAdminKey(key, by));
}

/** Call `forgetAdminKey` of `federation-check.ts` instead: it also drops the switches that this isolate shares. */
export function removeAdminKey(env: Namespace, keyId: string, by: string): Promise<RemovedAdminKey> {
  return withTimeout(policyForAdmins(env).removeAdminKey(keyId, by));
}

/**
 * Sends pending events to the log. Never rejects: events that cannot be sent stay in the object's outbox until the next
 * change or the next cron trigger.
 */
export async function publishPolicyChanges(env: Namespace): Promise<void> {
  try {
    await withTimeout(policyForAdmins(env).publish(), LIMITS.policyPublishMs);
  } catch (error) {
    const name = error instanceof Error ? error.name : "unknown";
    console.warn(JSON.stringify({ event: "policy-not-logged", cause: name }));
  }
}

/** How many changes the event log has not confirmed. */
export function pendingPolicyChanges(env: Namespace): Promise<number> {
  return withTimeout(policyForReaders(env).pendingEvents());
}

/** The answer is not validated here: `federation-check.ts` does that and fails closed. */
export function readSwitches(env: Namespace): Promise<unknown> {
  return withTimeout(policyForReaders(env).check());
}

function withTimeout<T>(answer: Promise<T>, ms: number = LIMITS.policyTimeoutMs): Promise<T> {
  return inTime(ms, answer, "pool policy");
}
