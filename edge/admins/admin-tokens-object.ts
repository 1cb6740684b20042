import { DurableObject } from "cloudflare:workers";
import type { MintedKey } from "../../schema/crypto/api-keys.ts";
import type { AdminTokenRow } from "../../schema/db/admin-tokens.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { draft, type EventDraft } from "../../schema/wire/event-registry.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { within } from "../limits/within.ts";
import { EventOutbox } from "../record/event-outbox.ts";
import { type HeldRecords, RecordOutbox } from "../record/record-outbox.ts";
import { sameRow } from "../record/same-row.ts";
import { nextTimeOf, withSuccessors } from "./successor-rules.ts";

export type AdminTokenChange = { ok: true; row: AdminTokenRow } | { ok: false; code: ErrorCode };

/** What of a minted token is kept. */
export type MintedRecord = Pick<MintedKey, "id" | "secretSha256">;

/** Who acts: the record says the name, and the log, from which no name can be erased, the token's id. */
export interface ActingAdmin {
  name: string;
  tokenId: string;
}

export interface RevokedToken {
  /** When the token was first refused, epoch ms: a rotation refuses it too. */
  revokedAtMs: number;
  /** The tokens that were good until now: this one, or the last of those that were rotated out of it. */
  revokedNow: string[];
  /** Whether D1 has it already; if not, it follows. */
  recorded: boolean;
}

/**
 * One object per pool: who may administer it, by name. Only tokens that this pool made are brought here. It decides and
 * commits; D1 and the event log are told through its two outboxes, and need not be there.
 */
export class AdminTokens extends DurableObject<Env> {
  readonly #outbox: RecordOutbox;
  readonly #events: EventOutbox;
  readonly #rows: Map<string, AdminTokenRow>;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#outbox = new RecordOutbox(ctx.storage, env.DB);
    this.#events = new EventOutbox(ctx.storage, env, "admins_untold");
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS admin_tokens (id TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID",
    );
    const stored = ctx.storage.sql.exec<{ id: string; row: string }>("SELECT id, row FROM admin_tokens");
    this.#rows = new Map([...stored].map(({ id, row }) => [id, JSON.parse(row) as AdminTokenRow]));
  }

  /** Whose token this is; null when it is not good, or not any more. */
  nameOf(id: string, secretSha256: string): string | null {
    const row = this.#rows.get(id);
    return row && row.revokedAtMs === null && row.secretSha256 === secretSha256 ? row.name : null;
  }

  /** A new token. The caller has minted it and shows it once. */
  async create(minted: MintedRecord, name: string, by: ActingAdmin): Promise<AdminTokenChange> {
    const living = [...this.#rows.values()].filter((row) => row.revokedAtMs === null);
    // Two living tokens of one name would make the audit columns say less than they seem to.
    if (living.some((row) => row.name === name)) return { ok: false, code: "admins/name-taken" };
    if (living.length >= LIMITS.adminTokens) return { ok: false, code: "admins/too-many" };
    const row = fresh(minted, name, by.name, nextTimeOf(name, [...this.#rows.values()], Date.now()));
    this.#save([row], [draft("admin_created", { admin: row.id, by: by.tokenId })]);
    await this.#settled();
    return { ok: true, row };
  }

  /** A new token in the place of one that is good until now, in one step. */
  async rotate(id: string, minted: MintedRecord, by: ActingAdmin): Promise<AdminTokenChange> {
    const old = this.#rows.get(id);
    if (!old || old.revokedAtMs !== null) return { ok: false, code: "admins/not-found" };
    const nowMs = nextTimeOf(old.name, [...this.#rows.values()], Date.now());
    const row = fresh(minted, old.name, by.name, nowMs);
    this.#save(
      [{ ...old, revokedBy: by.name, revokedAtMs: nowMs }, row],
      [draft("admin_rotated", { admin: row.id, replaces: id, by: by.tokenId })],
    );
    await this.#settled();
    return { ok: true, row };
  }

  /**
   * Refuses the token from now on, and what replaced it: the thief of a token may have rotated it, and only the thief
   * knows the token that is good now. Null for no such token.
   */
  async revoke(id: string, by: ActingAdmin): Promise<RevokedToken | null> {
    const row = this.#rows.get(id);
    if (!row) return null;
    const nowMs = nextTimeOf(row.name, [...this.#rows.values()], Date.now());
    const living = withSuccessors(row, [...this.#rows.values()]).filter((each) => each.revokedAtMs === null);
    if (living.length > 0) {
      const revoked = living.map((each) => ({ ...each, revokedBy: by.name, revokedAtMs: nowMs }));
      this.#save(
        revoked,
        revoked.map(({ id: admin }) => draft("admin_revoked", { admin, by: by.tokenId })),
      );
    }
    const recorded = await this.#settled();
    return { revokedAtMs: row.revokedAtMs ?? nowMs, revokedNow: living.map((each) => each.id), recorded };
  }

  /** Tokens of an export. Those that are here stay as they are; false when one of them is not as it was exported. */
  async restore(rows: AdminTokenRow[]): Promise<boolean> {
    const other = rows.some((row) => !sameRow(this.#rows.get(row.id) ?? row, row));
    if (other) return false;
    this.#save(rows, []);
    await this.#settled();
    return true;
  }

  heldRecords(): HeldRecords {
    return this.#outbox.held();
  }

  /** How many changes our log has not heard of. */
  untold(): number {
    return this.#events.pending();
  }

  override async alarm(): Promise<void> {
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
        this.#outbox.put("admin_tokens", row);
      }
      for (const event of events) this.#events.put(event);
    });
    for (const row of rows) this.#rows.set(row.id, row);
  }

  /** Whether D1 has it all: for a while an admin waits for that. */
  async #settled(): Promise<boolean> {
    const flushing = this.#flush();
    this.ctx.waitUntil(flushing);
    return (await within(LIMITS.recordWaitMs, flushing)) ?? false;
  }

  /** What does not get through now, the alarm sends. */
  async #flush(): Promise<boolean> {
    const [recorded] = await Promise.all([this.#outbox.flush(), this.#events.flush()]);
    const nowMs = Date.now();
    const due = [this.#outbox.dueAtMs(nowMs), this.#events.dueAtMs(nowMs)].filter((atMs) => atMs !== null);
    if (due.length > 0) await this.ctx.storage.setAlarm(Math.min(...due));
    return recorded;
  }
}

function fresh(minted: MintedRecord, name: string, by: string, nowMs: number): AdminTokenRow {
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
