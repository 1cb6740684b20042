import { DurableObject } from "cloudflare:workers";
import type { AdminTokenRow } from "../../schema/db/admin-tokens.ts";
import { draft, type EventDraft, type EventPayload } from "../../schema/wire/event-registry.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { DueTimes } from "../limits/due-times.ts";
import { within } from "../limits/timeout.ts";
import { EventOutbox } from "../record/event-outbox.ts";
import { type HeldRecords, RecordOutbox } from "../record/record-outbox.ts";
import { sameRow } from "../record/same-row.ts";
import type { ActingAdmin, AdminTokenChange, AdminTokensRpc, MintedRecord, RevokedToken } from "./admin-tokens-rpc.ts";
import { nextTimeOf, withSuccessors } from "./successor-rules.ts";

/**
 * One object per pool: the named admin tokens, and the events that record what admins did with the record. It commits
 * its decisions first. Two outboxes then bring the rows to D1 and the events to the log, so neither needs to be
 * reachable.
 */
export class AdminTokens extends DurableObject<Env> implements AdminTokensRpc {
  readonly #records: RecordOutbox;
  readonly #events: EventOutbox;
  readonly #due: DueTimes;
  readonly #rows: Map<string, AdminTokenRow>;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#records = new RecordOutbox(ctx.storage, env.DB);
    this.#events = new EventOutbox(ctx.storage, env, "admins_untold");
    this.#due = new DueTimes(ctx.storage, {
      records: (nowMs) => this.#records.dueAtMs(nowMs),
      events: (nowMs) => this.#events.dueAtMs(nowMs),
    });
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS admin_tokens (id TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID",
    );
    const stored = ctx.storage.sql.exec<{ id: string; row: string }>("SELECT id, row FROM admin_tokens");
    this.#rows = new Map([...stored].map(({ id, row }) => [id, JSON.parse(row) as AdminTokenRow]));
  }

  nameOf(id: string, secretSha256: string): string | null {
    const row = this.#rows.get(id);
    return row && row.revokedAtMs === null && row.secretSha256 === secretSha256 ? row.name : null;
  }

  async create(minted: MintedRecord, name: string, by: ActingAdmin): Promise<AdminTokenChange> {
    const living = [...this.#rows.values()].filter((row) => row.revokedAtMs === null);
    // The audit columns of other tables hold the name, so it must belong to one living token.
    if (living.some((row) => row.name === name)) return { ok: false, code: "admins/name-taken" };
    if (living.length >= LIMITS.adminTokens) return { ok: false, code: "admins/too-many" };
    const row = newToken(minted, name, by.name, nextTimeOf(name, [...this.#rows.values()], Date.now()));
    this.#save([row], [draft("admin_created", { admin: row.id, by: by.tokenId })]);
    await this.#flushForAWhile();
    return { ok: true, row };
  }

  async rotate(id: string, minted: MintedRecord, by: ActingAdmin): Promise<AdminTokenChange> {
    const old = this.#rows.get(id);
    if (!old || old.revokedAtMs !== null) return { ok: false, code: "admins/not-found" };
    const nowMs = nextTimeOf(old.name, [...this.#rows.values()], Date.now());
    const row = newToken(minted, old.name, by.name, nowMs);
    this.#save(
      [{ ...old, revokedBy: by.name, revokedAtMs: nowMs }, row],
      [draft("admin_rotated", { admin: row.id, replaces: id, by: by.tokenId })],
    );
    await this.#flushForAWhile();
    return { ok: true, row };
  }

  async revoke(id: string, by: ActingAdmin): Promise<RevokedToken | null> {
    const row = this.#rows.get(id);
    if (!row) return null;
    const nowMs = nextTimeOf(row.name, [...this.#rows.values()], Date.now());
    const living = withSuccessors(row, [...this.#rows.values()]).filter((each) => each.revokedAtMs === null);
    if (living.length > 0) {
      this.#save(
        living.map((each) => ({ ...each, revokedBy: by.name, revokedAtMs: nowMs })),
        living.map(({ id: admin }) => draft("admin_revoked", { admin, by: by.tokenId })),
      );
    }
    const recorded = await this.#flushForAWhile();
    return { revokedAtMs: row.revokedAtMs ?? nowMs, revokedNow: living.map((each) => each.id), recorded };
  }

  async restore(rows: AdminTokenRow[]): Promise<boolean> {
    const isOther = rows.some((row) => !sameRow(this.#rows.get(row.id) ?? row, row));
    if (isOther) return false;
    this.#save(rows, []);
    await this.#flushForAWhile();
    return true;
  }

  async recordImport(payload: EventPayload<"record_imported">): Promise<void> {
    this.#save([], [draft("record_imported", payload)]);
    await this.#flushForAWhile();
  }

  heldRecords(): HeldRecords {
    return this.#records.held();
  }

  pendingEvents(): number {
    return this.#events.pending();
  }

  override async alarm(): Promise<void> {
    this.#due.fired();
    await this.#flush();
  }

  /** One transaction: the rows, their copies for D1, and the events for the log. */
  #save(rows: AdminTokenRow[], events: EventDraft[]): void {
    this.ctx.storage.transactionSync(() => {
      for (const row of rows) {
        this.ctx.storage.sql.exec(
          "INSERT INTO admin_tokens (id, row) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET row = ?2",
          row.id,
          JSON.stringify(row),
        );
        this.#records.put("admin_tokens", row);
      }
      for (const event of events) this.#events.put(event);
    });
    // Arm in the same turn, so that the alarm is part of the commit: it sends the rows and events even if the object
    // dies now.
    this.ctx.waitUntil(this.#due.arm(Date.now()));
    for (const row of rows) this.#rows.set(row.id, row);
  }

  /**
   * Resolves with whether D1 has all rows now. Waits at most `LIMITS.recordWaitMs`, because an admin waits for the
   * answer.
   */
  async #flushForAWhile(): Promise<boolean> {
    const flushing = this.#flush();
    this.ctx.waitUntil(flushing);
    return (await within(LIMITS.recordWaitMs, flushing)) ?? false;
  }

  /** The alarm retries what fails now. */
  async #flush(): Promise<boolean> {
    const [recorded] = await Promise.all([this.#records.flush(), this.#events.flush()]);
    await this.#due.arm(Date.now());
    return recorded;
  }
}

function newToken(minted: MintedRecord, name: string, by: string, nowMs: number): AdminTokenRow {
  return {
    id: minted.id,
    name,
    secretSha256: minted.secretSha256,
    createdBy: by,
    createdAtMs: nowMs,
    revokedBy: null,
    revokedAtMs: null,
  };
}
