import { type FederationPolicy, federationPolicy } from "../../schema/wire/federation.ts";
import type { Env } from "../env.ts";
import { askSwitches } from "./pool-policy.ts";

export type FederationCheck =
  | { readonly open: true; readonly policy: FederationPolicy }
  | { readonly open: false; readonly code: "federation/disabled" };

const CLOSED: FederationCheck = Object.freeze({ open: false, code: "federation/disabled" });

/**
 * The kill switch (SPEC 3.5): asked before anything else by every federated endpoint and every call to a peer. It fails
 * closed: an object that is late, throws, has lost its state or says what is not understood is one that says `off`.
 * Never cached: the operator's `off` holds from the next request on.
 */
export async function checkFederation(env: Pick<Env, "POOL_POLICY">): Promise<FederationCheck> {
  try {
    const said = federationPolicy.safeParse(await askSwitches(env));
    return said.success && said.data.federation === "on" ? { open: true, policy: said.data } : CLOSED;
  } catch {
    return CLOSED;
  }
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
