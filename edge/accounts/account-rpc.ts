/** The interfaces of an `Account`: one for each group of callers. Types only. */
import type { ClientKeyRow } from "../../schema/db/client-keys.ts";
import type { HeldRecords } from "../record/record-outbox.ts";
import type { Admission, AdmissionRequest, Charge, LookupAdmission } from "./admission-rules.ts";

type InvalidKey = { ok: false; code: "auth/invalid-key" };
export type AccountAdmission = Admission | InvalidKey;
export type AccountCharge = Charge | InvalidKey;
export type AccountLookup = LookupAdmission | InvalidKey;

/** The client API, before a request becomes a job. */
export interface AccountForClients extends Rpc.DurableObjectBranded {
  /** Admits or refuses one request with all of its answers. Its stream slots have the ids of its jobs. */
  admit(request: AdmissionRequest & { secretSha256: string }): AccountAdmission;
  /** Charges one request for a body that was refused. */
  charge(secretSha256: string): AccountCharge;
  /** Admits or refuses a request that needs no worker: a list of models, a cancellation. */
  lookUp(secretSha256: string): AccountLookup;
}

/** Lanes, while and after jobs run. */
export interface AccountForLanes extends Rpc.DurableObjectBranded {
  /** Renews the leases of stream slots. A lane calls this every `LIMITS.streamSlotRenewMs`. */
  renew(slots: string[]): void;
  /** Charges tokens of ended jobs, and frees the slot of one ended stream. */
  recordUsage(used: { slot: string | null; tokens: number }): void;
}

export interface AccountForAdmins extends Rpc.DurableObjectBranded {
  /** Makes this the account of a new key. The caller has minted the key and shows it once. */
  create(key: ClientKeyRow): Promise<void>;
  /** Makes this the account of an exported key. False if it is already the account of a key with other content. */
  restore(key: ClientKeyRow): Promise<boolean>;
  /**
   * Refuses the key from now on. `revokedAtMs` is the time of the first revocation; `recorded` says whether D1 has it
   * already. Null where there is no such key.
   */
  revoke(by: string): Promise<{ revokedAtMs: number; recorded: boolean } | null>;
  /** Rows that D1 does not have. */
  heldRecords(): HeldRecords;
}

export interface AccountRpc extends AccountForClients, AccountForLanes, AccountForAdmins {}
