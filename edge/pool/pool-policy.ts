import { proxyDurable } from "itty-durable";
import type { EventBody } from "../../schema/wire/events.ts";
import type { FederationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import type { ChangedPolicy, PoolSettings } from "./pool-policy-object.ts";

interface PoolPolicyMethods {
  read(): Promise<PoolSettings>;
  change(patch: Partial<PoolSettings>, told: EventBody["payload"]): Promise<PoolSettings>;
  check(): Promise<unknown>;
  changeFederation(patch: Partial<FederationPolicy>, by: string): Promise<ChangedPolicy>;
  tell(): Promise<number>;
  waiting(): Promise<number>;
}

/** The one pool policy. Only methods may be called: a property read answers a promise, which is always truthy. */
function poolPolicy(env: Pick<Env, "POOL_POLICY">): PoolPolicyMethods {
  return proxyDurable(env.POOL_POLICY, { name: "PoolPolicy", parse: true }).get("pool");
}

/** The operator's settings; rejects when the object does not answer within a second. */
export async function poolSettings(env: Pick<Env, "POOL_POLICY">): Promise<PoolSettings> {
  return withTimeout(poolPolicy(env).read());
}

/** `told`: what our log is told of it (docs/spec/events.md#events), by `tellPolicyChanges`. */
export async function changePoolSettings(
  env: Env,
  patch: Partial<PoolSettings>,
  told: EventBody["payload"],
): Promise<PoolSettings> {
  return withTimeout(poolPolicy(env).change(patch, told));
}

/** `by`: the admin's token id. The log is told of the change by `tellPolicyChanges`. */
export async function changePolicy(env: Env, patch: Partial<FederationPolicy>, by: string): Promise<ChangedPolicy> {
  return withTimeout(poolPolicy(env).changeFederation(patch, by));
}

/**
 * Our log hears of what was changed. Where it does not answer nothing is lost, and nobody need be told: the object keeps
 * what it has to say, until the next change or the next cron trigger.
 */
export async function tellPolicyChanges(env: Pick<Env, "POOL_POLICY">): Promise<void> {
  try {
    await withTimeout(poolPolicy(env).tell(), LIMITS.policyToldMs);
  } catch (error) {
    const name = error instanceof Error ? error.name : "unknown";
    console.warn(JSON.stringify({ event: "policy-not-logged", cause: name }));
  }
}

/** How many changes our log has not heard of. */
export function untoldPolicyChanges(env: Pick<Env, "POOL_POLICY">): Promise<number> {
  return withTimeout(poolPolicy(env).waiting());
}

/** What the object says of its switches, unread: `federation-check.ts` decides by it. */
export function askSwitches(env: Pick<Env, "POOL_POLICY">): Promise<unknown> {
  return withTimeout(poolPolicy(env).check());
}

function withTimeout<T>(answer: Promise<T>, ms: number = LIMITS.policyTimeoutMs): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("pool policy did not answer in time")), ms);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}
