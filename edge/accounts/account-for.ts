/** The stub of a key's `Account`, with the methods that a group of callers may use. */
import type { Env } from "../env.ts";
import type { AccountForAdmins, AccountForClients, AccountForLanes } from "./account-rpc.ts";

interface Stubs {
  clients: DurableObjectStub<AccountForClients>;
  lanes: DurableObjectStub<AccountForLanes>;
  admins: DurableObjectStub<AccountForAdmins>;
}

/** @param _caller decides which methods the stub has */
export function accountFor<C extends keyof Stubs>(env: Env, _caller: C, keyId: string): Stubs[C] {
  return env.ACCOUNT.getByName(keyId) as Stubs[C];
}
