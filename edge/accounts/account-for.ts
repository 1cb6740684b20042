/** Stubs of a key's `Account`, each narrowed to what its callers may do. */
import type { Env } from "../env.ts";
import type { AccountForAdmins, AccountForClients, AccountForLanes } from "./account-rpc.ts";

type Accounts = Pick<Env, "ACCOUNT">;

export function accountForClients(env: Accounts, keyId: string): DurableObjectStub<AccountForClients> {
  return env.ACCOUNT.getByName(keyId);
}

export function accountForLanes(env: Accounts, keyId: string): DurableObjectStub<AccountForLanes> {
  return env.ACCOUNT.getByName(keyId);
}

export function accountForAdmins(env: Accounts, keyId: string): DurableObjectStub<AccountForAdmins> {
  return env.ACCOUNT.getByName(keyId);
}
