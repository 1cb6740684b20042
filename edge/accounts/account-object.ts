import { DurableObject } from "cloudflare:workers";
import type { ClientKeyRow } from "../../schema/db/client-keys.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { DueTimes } from "../limits/due-times.ts";
import { within } from "../limits/timeout.ts";
import { type HeldRecords, RecordOutbox } from "../record/record-outbox.ts";
import { sameRow } from "../record/same-row.ts";
import type { AccountAdmission, AccountCharge, AccountLookup, AccountRpc } from "./account-rpc.ts";
import {
  type AskedAdmission,
  admit,
  admitLookup,
  charge,
  newTraffic,
  recordUsage,
  renew,
  type Traffic,
} from "./admission-rules.ts";

/** The buckets reach the disk at most once a second, beside the requests and never in front of them. */
const SAVE_AFTER_MS = 1_000;

/** One object per client key (docs/spec/pool.md#shape): its record, its limits, its stream slots. The rules are in `admission-rules.ts`. */
export class Account extends DurableObject<Env> implements AccountRpc {
  readonly #outbox: RecordOutbox;
  readonly #due: DueTimes;
  #key: ClientKeyRow | undefined;
  #traffic: Traffic | undefined;
  #saveTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#outbox = new RecordOutbox(ctx.storage, env.DB);
    this.#due = new DueTimes(ctx.storage, { records: (nowMs) => this.#outbox.dueAtMs(nowMs) });
    this.#key = ctx.storage.kv.get<ClientKeyRow>("key");
    this.#traffic = ctx.storage.kv.get<Traffic>("traffic");
    // What a crash left behind between the commit and D1.
    if (this.#outbox.pending() > 0) ctx.waitUntil(this.#flush());
  }

  /** Makes this the account of a new key. The caller has minted the key and shows it once. */
  async create(key: ClientKeyRow): Promise<void> {
    this.ctx.storage.transactionSync(() => {
      this.ctx.storage.kv.put("key", key);
      this.#outbox.put("client_keys", key);
    });
    this.#key = key;
    await this.#flush();
  }

  /** Makes this the account of an exported key; false when it is the account of one that says otherwise. */
  async restore(key: ClientKeyRow): Promise<boolean> {
    if (this.#key) return sameRow(this.#key, key);
    await this.create(key);
    return true;
  }

  /**
   * Refuses the key from now on. The time is that of the first revocation, epoch ms; `recorded`: whether D1 has it
   * already. Null for no such key.
   */
  async revoke(by: string): Promise<{ revokedAtMs: number; recorded: boolean } | null> {
    const key = this.#key;
    if (!key) return null;
    const revokedAtMs = key.revokedAtMs ?? Date.now();
    if (key.revokedAtMs === null) {
      const revoked = { ...key, revokedBy: by, revokedAtMs };
      this.ctx.storage.transactionSync(() => {
        this.ctx.storage.kv.put("key", revoked);
        this.#outbox.put("client_keys", revoked);
      });
      this.#key = revoked;
    }
    const flushing = this.#flush();
    this.ctx.waitUntil(flushing);
    return { revokedAtMs, recorded: (await within(LIMITS.recordWaitMs, flushing)) ?? false };
  }

  heldRecords(): HeldRecords {
    return this.#outbox.held();
  }

  #isGood(secretSha256: string): boolean {
    return this.#key !== undefined && this.#key.revokedAtMs === null && this.#key.secretSha256 === secretSha256;
  }

  /** One request asks to pass. Its slots are the ids of its jobs. */
  admit(request: AskedAdmission & { secretSha256: string }): AccountAdmission {
    const key = this.#key;
    if (!key || !this.#isGood(request.secretSha256)) return { ok: false, code: "auth/invalid-key" };
    const nowMs = Date.now();
    this.#traffic ??= newTraffic(key, nowMs);
    this.#saveSoon();
    return admit(this.#traffic, key, request, nowMs);
  }

  /** A request's body was refused. */
  charge(secretSha256: string): AccountCharge {
    const key = this.#key;
    if (!key || !this.#isGood(secretSha256)) return { ok: false, code: "auth/invalid-key" };
    const nowMs = Date.now();
    this.#traffic ??= newTraffic(key, nowMs);
    this.#saveSoon();
    return charge(this.#traffic, key, nowMs);
  }

  /** One request asks to pass that asks no worker. */
  lookUp(secretSha256: string): AccountLookup {
    const key = this.#key;
    if (!key || !this.#isGood(secretSha256)) return { ok: false, code: "auth/invalid-key" };
    const nowMs = Date.now();
    this.#traffic ??= newTraffic(key, nowMs);
    this.#saveSoon();
    return admitLookup(this.#traffic, key, nowMs);
  }

  /** Called by the lane every 20 s for the streams that still run (docs/spec/inference.md#a-jobs-life). */
  renew(slots: string[]): void {
    if (!this.#key) return;
    this.#traffic ??= newTraffic(this.#key, Date.now());
    renew(this.#traffic, slots, Date.now());
    this.#saveSoon();
  }

  /** Called by the lane when jobs have ended: one stream with its slot, or the tokens of several whole answers. */
  recordUsage(used: { slot: string | null; tokens: number }): void {
    if (!this.#key) return;
    this.#traffic ??= newTraffic(this.#key, Date.now());
    recordUsage(this.#traffic, this.#key, used, Date.now());
    this.#saveSoon();
  }

  override async alarm(): Promise<void> {
    this.#due.fired();
    await this.#flush();
  }

  /** docs/spec/pool.md#shape, rule 6: nothing is written before the answer; the object outlives this timer by far. */
  #saveSoon(): void {
    this.#saveTimer ??= setTimeout(() => {
      this.#saveTimer = null;
      if (this.#traffic) this.ctx.storage.kv.put("traffic", this.#traffic);
    }, SAVE_AFTER_MS);
  }

  /** Whether D1 has it all; if not, the alarm tries again. */
  async #flush(): Promise<boolean> {
    const flushed = await this.#outbox.flush();
    if (!flushed) await this.#due.arm(Date.now());
    return flushed;
  }
}
