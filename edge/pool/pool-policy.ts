import { proxyDurable } from "itty-durable";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import type { PoolSettings } from "./pool-policy-object.ts";

interface PoolPolicyMethods {
  read(): Promise<PoolSettings>;
  change(patch: Partial<PoolSettings>): Promise<PoolSettings>;
}

/** The one pool policy. Only methods may be called: a property read answers a promise, which is always truthy. */
function poolPolicy(env: Env): PoolPolicyMethods {
  return proxyDurable(env.POOL_POLICY, { name: "PoolPolicy", parse: true }).get("pool");
}

/** The operator's settings; rejects when the object does not answer within a second. */
export async function poolSettings(env: Env): Promise<PoolSettings> {
  return withTimeout(poolPolicy(env).read(), LIMITS.policyTimeoutMs);
}

export async function changePoolSettings(env: Env, patch: Partial<PoolSettings>): Promise<PoolSettings> {
  return withTimeout(poolPolicy(env).change(patch), LIMITS.policyTimeoutMs);
}

function withTimeout<T>(answer: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("pool policy did not answer in time")), ms);
  });
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}
