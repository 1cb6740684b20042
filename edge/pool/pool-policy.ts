/** The functions that call the pool's only `PoolPolicy`. Each rejects when the object does not answer in time. */
import { proxyDurable } from "itty-durable";
import type { FederationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { inTime } from "../limits/timeout.ts";
import { POOL_POLICY } from "../object-names.ts";
import type {
  ChangedPolicy,
  PoolPolicyForAdmins,
  PoolPolicyForReaders,
  PoolSettings,
  SettingsChange,
} from "./pool-policy-rpc.ts";

type Namespace = Pick<Env, "POOL_POLICY">;

/**
 * A stub whose methods return promises. Never read a property of it: itty-durable returns a promise, which is always
 * truthy.
 */
type Stub<Methods> = {
  [Name in keyof Methods]: Methods[Name] extends (...args: infer Args) => infer Answer
    ? (...args: Args) => Promise<Awaited<Answer>>
    : never;
};

function forReaders(env: Namespace): Stub<PoolPolicyForReaders> {
  return proxyDurable(env.POOL_POLICY, { name: "PoolPolicy", parse: true }).get(POOL_POLICY);
}

function forAdmins(env: Namespace): Stub<PoolPolicyForAdmins> {
  return proxyDurable(env.POOL_POLICY, { name: "PoolPolicy", parse: true }).get(POOL_POLICY);
}

export async function poolSettings(env: Namespace): Promise<PoolSettings> {
  return withTimeout(forReaders(env).read());
}

/** `event` records the change in the log; `publishPolicyChanges` sends it. */
export async function changePoolSettings(
  env: Namespace,
  patch: Partial<PoolSettings>,
  event: SettingsChange,
): Promise<PoolSettings> {
  return withTimeout(forAdmins(env).change(patch, event));
}

/** `by`: the admin's token id. `publishPolicyChanges` sends the event that records the change. */
export async function changePolicy(
  env: Namespace,
  patch: Partial<FederationPolicy>,
  by: string,
): Promise<ChangedPolicy> {
  return withTimeout(forAdmins(env).changeFederation(patch, by));
}

/**
 * Sends pending events to the log. Never rejects: events that cannot be sent stay in the object's outbox until the next
 * change or the next cron trigger.
 */
export async function publishPolicyChanges(env: Namespace): Promise<void> {
  try {
    await withTimeout(forAdmins(env).publish(), LIMITS.policyPublishMs);
  } catch (error) {
    const name = error instanceof Error ? error.name : "unknown";
    console.warn(JSON.stringify({ event: "policy-not-logged", cause: name }));
  }
}

/** How many changes the event log has not confirmed. */
export function pendingPolicyChanges(env: Namespace): Promise<number> {
  return withTimeout(forReaders(env).pendingEvents());
}

/** The answer is not validated here: `federation-check.ts` does that and fails closed. */
export function readSwitches(env: Namespace): Promise<unknown> {
  return withTimeout(forReaders(env).check());
}

function withTimeout<T>(answer: Promise<T>, ms: number = LIMITS.policyTimeoutMs): Promise<T> {
  return inTime(ms, answer, "pool policy");
}
