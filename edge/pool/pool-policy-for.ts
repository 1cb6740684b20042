/** Stubs of the pool's only `PoolPolicy`, each narrowed to what its callers may do. */
import { proxyDurable } from "itty-durable";
import type { Env } from "../env.ts";
import { POOL_POLICY } from "../object-names.ts";
import type { PoolPolicyForAdmins, PoolPolicyForReaders } from "./pool-policy-rpc.ts";

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

export function policyForReaders(env: Namespace): Stub<PoolPolicyForReaders> {
  return proxyDurable(env.POOL_POLICY, { name: "PoolPolicy", parse: true }).get(POOL_POLICY);
}

export function policyForAdmins(env: Namespace): Stub<PoolPolicyForAdmins> {
  return proxyDurable(env.POOL_POLICY, { name: "PoolPolicy", parse: true }).get(POOL_POLICY);
}
