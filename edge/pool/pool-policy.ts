import { proxyDurable } from "itty-durable";
import type { FederationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import type { PoolSettings } from "./pool-policy-object.ts";

interface PoolPolicyMethods {
  read(): Promise<PoolSettings>;
  change(patch: Partial<PoolSettings>): Promise<PoolSettings>;
  check(): Promise<unknown>;
  changeFederation(patch: Partial<FederationPolicy>): Promise<FederationPolicy>;
}

/** The one pool policy. Only methods may be called: a property read answers a promise, which is always truthy. */
function poolPolicy(env: Pick<Env, "POOL_POLICY">): PoolPolicyMethods {
  return proxyDurable(env.POOL_POLICY, { name: "PoolPolicy", parse: true }).get("pool");
}

/** The operator's settings; rejects when the object does not answer within a second. */
export async function poolSettings(env: Pick<Env, "POOL_POLICY">): Promise<PoolSettings> {
  return withTimeout(poolPolicy(env).read());
}

export async function changePoolSettings(env: Env, patch: Partial<PoolSettings>): Promise<PoolSettings> {
  return withTimeout(poolPolicy(env).change(patch));
}

export async function changeFederationPolicy(env: Env, patch: Partial<FederationPolicy>): Promise<FederationPolicy> {
  return withTimeout(poolPolicy(env).changeFederation(patch));
}

/** What the object says of its switches, unread: `federation-check.ts` decides by it. */
export function askSwitches(env: Pick<Env, "POOL_POLICY">): Promise<unknown> {
  return withTimeout(poolPolicy(env).check());
}

function withTimeout<T>(answer: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("pool policy did not answer in time")), LIMITS.policyTimeoutMs);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}
