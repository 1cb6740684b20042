/** The interfaces of `PoolPolicy`: one for each group of callers. `pool-policy.ts` holds the functions that call them. */
import type { EventPayload } from "../../schema/wire/event-registry.ts";
import type { FederationPolicy } from "../../schema/wire/federation.ts";

/** Persisted contract: the settings of the whole pool. */
export interface PoolSettings {
  name: string;
  description: string;
  /** The limits of a new client key. */
  defaults: { requestsPerMinute: number; tokensPerMinute: number; streams: number };
}

export interface ChangedPolicy {
  policy: FederationPolicy;
  /** False: every switch already had the value that the change gives it. */
  isChanged: boolean;
}

/** The payload of the event that records a change of settings. */
export type SettingsChange = Extract<EventPayload<"policy_changed">, { settings: unknown }>;

export interface PoolPolicyForReaders {
  read(): PoolSettings;
  /** The switches. A caller opens federation only on `federation: "on"` (`federation-check.ts`). */
  check(): FederationPolicy;
  /** How many changes the event log has not confirmed. */
  pendingEvents(): number;
}

export interface PoolPolicyForAdmins {
  /** Changes settings. The change and the event that records it are durable before this resolves. */
  change(patch: Partial<PoolSettings>, event: SettingsChange): Promise<PoolSettings>;
  /** As `change`, for the switches. `by`: the admin's token id. */
  changeFederation(patch: Partial<FederationPolicy>, by: string): Promise<ChangedPolicy>;
  /**
   * Sends pending events to the log. True: the log has all of them. False: the log is unavailable, and they stay
   * pending.
   */
  publish(): Promise<boolean>;
}

export interface PoolPolicyRpc extends PoolPolicyForReaders, PoolPolicyForAdmins {}
