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
  type AdmissionRequest,
  admit,
  admitLookup,
  charge,
  newTraffic,
  recordUsage,
  renew,
  type Traffic,
} from "./admission-rules.ts";

/** The buckets are written at most once a second. No request waits for the write. */
const SAVE_AFTER_MS = 1_000;

/** One object for each client key (docs/spec/accounts.md): its record, its rates and its stream slots, by `admission-rules.ts`. */
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
    // After a crash, D1 may lack rows that were committed here.
    if (this.#outbox.pending() > 0) ctx.waitUntil(this.#flush());
  }

  async create(key: ClientKeyRow): Promise<void> {
    this.ctx.storage.transactionSync(() => {
      this.ctx.storage.kv.put("key", key);
      this.#outbox.put("client_keys", key);
    });
    this.#key = key;
    await this.#flush();
  }

  async restore(key: ClientKeyRow): Promise<boolean> {
    if (this.#key) return sameRow(this.#key, key);
    await this.create(key);
    return true;
  }

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

  admit(request: AdmissionRequest & { secretSha256: string }): AccountAdmission {
    const key = this.#key;
    if (!key || !this.#isGood(request.secretSha256)) return { ok: false, code: "auth/invalid-key" };
    const nowMs = Date.now();
    this.#traffic ??= newTraffic(key, nowMs);
    this.#saveSoon();
    return admit(this.#traffic, key, request, nowMs);
  }

  charge(secretSha256: string): AccountCharge {
    const key = this.#key;
    if (!key || !this.#isGood(secretSha256)) return { ok: false, code: "auth/invalid-key" };
    const nowMs = Date.now();
    this.#traffic ??= newTraffic(key, nowMs);
    this.#saveSoon();
    return charge(this.#traffic, key, nowMs);
  }

  lookUp(secretSha256: string): AccountLookup {
    const key = this.#key;
    if (!key || !this.#isGood(secretSha256)) return { ok: false, code: "auth/invalid-key" };
    const nowMs = Date.now();
    this.#traffic ??= newTraffic(key, nowMs);
    this.#saveSoon();
    return admitLookup(this.#traffic, key, nowMs);
  }

  renew(slots: string[]): void {
    if (!this.#key) return;
    this.#traffic ??= newTraffic(this.#key, Date.now());
    renew(this.#traffic, slots, Date.now());
    this.#saveSoon();
  }

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

  /** Nothing is written before the answer (docs/spec/pool.md#shape, rule 6). An idle object lives longer than this timer. */
  #saveSoon(): void {
    this.#saveTimer ??= setTimeout(() => {
      this.#saveTimer = null;
      if (this.#traffic) this.ctx.storage.kv.put("traffic", this.#traffic);
    }, SAVE_AFTER_MS);
  }

  /** Whether D1 has all rows now. If not, the alarm tries again. */
  async #flush(): Promise<boolean> {
    const flushed = await this.#outbox.flush();
    if (!flushed) await this.#due.arm(Date.now());
    return flushed;
  }
}
