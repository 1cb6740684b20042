/** Stubs of a peer's `Bond`, one for each group of callers (`bond-rpc.ts`). */
import type { Env } from "../env.ts";
import type {
  BondForAdmins,
  BondForInbox,
  BondForPeers,
  BondForPool,
  BondForRequests,
  BondForRestores,
} from "./bond-rpc.ts";

type Bonds = Pick<Env, "BOND">;

export function bondForPeer(env: Bonds, atomId: string): DurableObjectStub<BondForPeers> {
  return env.BOND.getByName(atomId);
}

export function bondForRequest(env: Bonds, atomId: string): DurableObjectStub<BondForRequests> {
  return env.BOND.getByName(atomId);
}

export function bondForInbox(env: Bonds, atomId: string): DurableObjectStub<BondForInbox> {
  return env.BOND.getByName(atomId);
}

export function bondForAdmin(env: Bonds, atomId: string): DurableObjectStub<BondForAdmins> {
  return env.BOND.getByName(atomId);
}

export function bondForPool(env: Bonds, atomId: string): DurableObjectStub<BondForPool> {
  return env.BOND.getByName(atomId);
}

export function bondForRestore(env: Bonds, atomId: string): DurableObjectStub<BondForRestores> {
  return env.BOND.getByName(atomId);
}
