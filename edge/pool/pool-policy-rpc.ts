/** The interfaces of `PoolPolicy`: one for each group of callers. `pool-policy.ts` holds the functions that call them. */
import type { AdminKey } from "../../schema/wire/admin-keys.ts";
import type { EventPayload } from "../../schema/wire/event-registry.ts";
import type { FederationPolicy } from "../../schema/wire/federation.ts";

/** Persisted contract: the settings of the whole pool. */
export interface PoolSettings {
  name: string;
  description: string;
  /** The limits of a new client key. */
  defaults: { requestsPerMinute: number; tokensPerMinute: number; streams: number };
}

/** `isChanged`: false, because every switch already had the value that the change gives it. */
export type ChangedPolicy =
  | { ok: true; policy: FederationPolicy; isChanged: boolean }
  | { ok: false; code: "federation/no-admin-key" };

/** The caller has checked that the key is a valid one and not a pool's. */
export type NewAdminKey = Pick<AdminKey, "key_id" | "public_key" | "peer" | "label">;

/** `isNew`: false, because the same owner's key was registered before. It keeps its first label. */
export type AddedAdminKey =
  | { ok: true; key: AdminKey; isNew: boolean }
  | { ok: false; code: "admin-keys/taken" | "admin-keys/too-many" };

export type RemovedAdminKey =
  | { ok: true; key: AdminKey; policy: FederationPolicy; turnedWritesOff: boolean }
  | { ok: false; code: "admin-keys/not-found" };

/** The payload of the event that records a change of settings. */
export type SettingsChange = Extract<EventPayload<"policy_changed">, { settings: unknown }>;

export interface PoolPolicyForReaders {
  read(): PoolSettings;
  /** The switches. A caller opens federation only on `federation: "on"` (`federation-check.ts`). */
  check(): FederationPolicy;
  /** The registered admin keys, the oldest first. */
  adminKeys(): readonly AdminKey[];
  /** How many changes the event log has not confirmed. */
  pendingEvents(): number;
}

export interface PoolPolicyForAdmins {
  /** Changes settings. The change and the event that records it are durable before this resolves. */
  change(patch: Partial<PoolSettings>, event: SettingsChange): Promise<PoolSettings>;
  /**
   * As `change`, for the switches. `by`: the admin's token id. `accept_writes` cannot be turned on while no admin key is
   * registered.
   */
  changeFederation(patch: Partial<FederationPolicy>, by: string): Promise<ChangedPolicy>;
  addAdminKey(key: NewAdminKey, by: string): Promise<AddedAdminKey>;
  /** Removing the last key turns `accept_writes` off in the same commit. */
  removeAdminKey(keyId: string, by: string): Promise<RemovedAdminKey>;
  /**
   * Sends pending events to the log. True: the log has all of them. False: the log is unavailable, and they stay
   * pending.
   */
  publish(): Promise<boolean>;
}

export interface PoolPolicyRpc extends PoolPolicyForReaders, PoolPolicyForAdmins {}
