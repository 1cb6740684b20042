import { createDurable } from "itty-durable";
import type { AdminKey } from "../../schema/wire/admin-keys.ts";
import { draft } from "../../schema/wire/event-registry.ts";
import { FEDERATION_POLICY_DEFAULTS, type FederationPolicy, UNNAMED_POOL } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { EventOutbox } from "../record/event-outbox.ts";
import type { StoredDraft } from "../record/stored-draft.ts";
import { addKey, mayAcceptWrites, removeKey } from "./admin-key-rules.ts";
import type {
  AddedAdminKey,
  ChangedPolicy,
  NewAdminKey,
  PoolPolicyRpc,
  PoolSettings,
  RemovedAdminKey,
  SettingsChange,
} from "./pool-policy-rpc.ts";

/**
 * The operator's settings and switches: one small object per pool (docs/spec/federation.md#switches). Only this object uses
 * itty-durable. No inference request calls it. It has no alarm: its events are sent with each change and by the cron
 * trigger.
 */
export class PoolPolicy extends createDurable({ autoPersist: false }) implements PoolPolicyRpc {
  // itty-durable persists every public field under the key `data`.

  settings: PoolSettings = {
    name: UNNAMED_POOL,
    description: "",
    defaults: {
      requestsPerMinute: LIMITS.keyRequestsPerMinute,
      tokensPerMinute: LIMITS.keyTokensPerMinute,
      streams: LIMITS.keyStreams,
    },
  };

  /** Persisted contract. The defaults are closed, so that lost state closes federation. */
  federation: FederationPolicy = FEDERATION_POLICY_DEFAULTS;

  /** Persisted contract. Here, beside `accept_writes`, so that one commit can change both. */
  keysOfAdmins: readonly AdminKey[] = [];

  /** Persisted contract of earlier releases, which kept pending events here. `onLoad` moves them into the outbox. */
  untold: readonly { key: string; payload: StoredDraft["payload"] }[] = [];

  readonly #events: EventOutbox;

  constructor(state: DurableObjectState, env: Env) {
    super(state, env);
    this.#events = new EventOutbox(state.storage, env, "policy_pending");
  }

  /** itty-durable calls this once, after it has loaded the fields. */
  override async onLoad(): Promise<void> {
    if (this.untold.length === 0) return;
    const pending = this.untold;
    await this.#save(() => {
      for (const { key, payload } of pending) {
        this.#events.adopt({ type: "policy_changed", visibility: "private", payload, key });
      }
      this.untold = [];
    });
  }

  read(): PoolSettings {
    return this.settings;
  }

  async change(patch: Partial<PoolSettings>, event: SettingsChange): Promise<PoolSettings> {
    const changed = draft("policy_changed", event);
    await this.#save(() => {
      this.settings = { ...this.settings, ...patch };
      this.#events.put(changed);
    });
    return this.settings;
  }

  check(): FederationPolicy {
    // A switch that the stored state does not have yet gets its default.
    return { ...FEDERATION_POLICY_DEFAULTS, ...this.federation };
  }

  async changeFederation(patch: Partial<FederationPolicy>, by: string): Promise<ChangedPolicy> {
    if (patch.accept_writes === true && !mayAcceptWrites(this.keysOfAdmins)) {
      return { ok: false, code: "federation/no-admin-key" };
    }
    const before = this.check();
    const changed = Object.entries(patch).filter(([name, value]) => before[name as keyof FederationPolicy] !== value);
    const isChanged = changed.length > 0;
    const event = isChanged ? draft("policy_changed", { by, federation: Object.fromEntries(changed) }) : null;
    await this.#save(() => {
      this.federation = { ...before, ...patch };
      if (event !== null) this.#events.put(event);
    });
    return { ok: true, policy: this.federation, isChanged };
  }

  adminKeys(): readonly AdminKey[] {
    return this.keysOfAdmins;
  }

  async addAdminKey(given: NewAdminKey, by: string): Promise<AddedAdminKey> {
    const step = addKey(this.keysOfAdmins, { ...given, added_by: by, added_at_ms: Date.now() });
    if (!step.ok) return step;
    const { key, isNew } = step;
    if (!isNew) return { ok: true, key, isNew };
    const added = draft("admin_key_added", { key_id: key.key_id, peer: key.peer, by });
    await this.#save(() => {
      this.keysOfAdmins = step.keys;
      this.#events.put(added);
    });
    return { ok: true, key, isNew };
  }

  async removeAdminKey(keyId: string, by: string): Promise<RemovedAdminKey> {
    const step = removeKey(this.keysOfAdmins, keyId);
    if (!step.ok) return step;
    const before = this.check();
    const turnedWritesOff = before.accept_writes && !mayAcceptWrites(step.keys);
    const policy = turnedWritesOff ? { ...before, accept_writes: false } : before;
    const removed = draft("admin_key_removed", { key_id: keyId, peer: step.key.peer, by });
    const closed = draft("policy_changed", { by, federation: { accept_writes: false } });
    await this.#save(() => {
      this.keysOfAdmins = step.keys;
      this.federation = policy;
      this.#events.put(removed);
      if (turnedWritesOff) this.#events.put(closed);
    });
    return { ok: true, key: step.key, policy, turnedWritesOff };
  }

  publish(): Promise<boolean> {
    return this.#events.flush();
  }

  pendingEvents(): number {
    return this.#events.pending();
  }

  /** Changes fields and events in one commit: SQLite storage commits all writes of one turn together. */
  async #save(change: () => void): Promise<void> {
    change();
    await this.persist();
  }
}
