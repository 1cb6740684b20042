import { DurableObject } from "cloudflare:workers";
import type { MintedKey } from "../../schema/crypto/api-keys.ts";
import type { AdminTokenRow } from "../../schema/db/admin-tokens.ts";
import type { ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { type HeldRecords, Outbox } from "../record/outbox.ts";
import { sameRow } from "../record/same-row.ts";

export type AdminTokenChange = { ok: true; row: AdminTokenRow } | { ok: false; code: ErrorCode };

/** What of a minted token is kept. */
export type MintedRecord = Pick<MintedKey, "id" | "secretSha256">;

/** One object per pool: who may administer it, by name. Only tokens that this pool made are brought here. */
export class AdminTokens extends DurableObject<Env> {
  readonly #outbox: Outbox;
  readonly #rows: Map<string, AdminTokenRow>;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#outbox = new Outbox(ctx.storage, env.DB);
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
  async create(minted: MintedRecord, name: string, by: string): Promise<AdminTokenChange> {
    const living = [...this.#rows.values()].filter((row) => row.revokedAtMs === null);
    // Two living tokens of one name would make the audit columns say less than they seem to.
    if (living.some((row) => row.name === name)) return { ok: false, code: "admins/name-taken" };
    if (living.length >= LIMITS.adminTokens) return { ok: false, code: "admins/too-many" };
    const row = fresh(minted, name, by, Date.now());
    await this.#save([row]);
    return { ok: true, row };
  }

  /** A new token in the place of one that is good until now, in one step. */
  async rotate(id: string, minted: MintedRecord, by: string): Promise<AdminTokenChange> {
    const old = this.#rows.get(id);
    if (!old || old.revokedAtMs !== null) return { ok: false, code: "admins/not-found" };
    const nowMs = Date.now();
    const row = fresh(minted, old.name, by, nowMs);
    await this.#save([{ ...old, revokedBy: by, revokedAtMs: nowMs }, row]);
    return { ok: true, row };
  }

  /** Refuses the token from now on. Time of the first revocation, epoch ms; null for no such token. */
  async revoke(id: string, by: string): Promise<number | null> {
    const row = this.#rows.get(id);
    if (!row) return null;
    const revoked = row.revokedAtMs === null ? { ...row, revokedBy: by, revokedAtMs: Date.now() } : row;
    await this.#save([revoked]);
    return revoked.revokedAtMs;
  }

  /** Tokens of an export. Those that are here stay as they are; false when one of them is not as it was exported. */
  async restore(rows: AdminTokenRow[]): Promise<boolean> {
    const other = rows.some((row) => !sameRow(this.#rows.get(row.id) ?? row, row));
    if (other) return false;
    await this.#save(rows);
    return true;
  }

  heldRecords(): HeldRecords {
    return this.#outbox.held();
  }

  override async alarm(): Promise<void> {
    await this.#flush();
  }

  async #save(rows: AdminTokenRow[]): Promise<void> {
    this.ctx.storage.transactionSync(() => {
      for (const row of rows) {
        this.ctx.storage.sql.exec(
          "INSERT INTO admin_tokens (id, row) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET row = ?2",
          row.id,
          JSON.stringify(row),
        );
        this.#outbox.put("admin_tokens", row);
      }
    });
    for (const row of rows) this.#rows.set(row.id, row);
    await this.#flush();
  }

  async #flush(): Promise<void> {
    if (await this.#outbox.flush()) return;
    await this.ctx.storage.setAlarm(this.#outbox.dueAtMs(Date.now()) ?? Date.now() + LIMITS.outboxRetryMinMs);
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
