import { DurableObject } from "cloudflare:workers";
import { toHex } from "../../schema/crypto/bytes.ts";
import type { SlashingEventRow } from "../../schema/db/economy.ts";
import { draft } from "../../schema/wire/event-registry.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { SlashingStatus } from "../../schema/wire/market.ts";
import type { ActingAdmin } from "../admins/admin-tokens-rpc.ts";
import type { Env } from "../env.ts";
import { DueTimes } from "../limits/due-times.ts";
import { within } from "../limits/timeout.ts";
import { EventOutbox } from "../record/event-outbox.ts";
import { RecordOutbox } from "../record/record-outbox.ts";
import { changeSlashing } from "./slashing-machine.ts";
import type { NewSlashing, OpenSlashing, SlashingChange, SlashingRpc } from "./slashing-rpc.ts";

/** The newest row of each slashing event. */
const NEWEST = "SELECT row, max(version) FROM slashing WHERE TRUE GROUP BY slashing_id";

/**
 * One object per pool: its slashing events (docs/spec/market.md#slashing-events). It decides, because two admins may decide at
 * the same time. Each change is a new row, committed together with its copy for D1 and its audit event.
 */
export class SlashingBook extends DurableObject<Env> implements SlashingRpc {
  readonly #records: RecordOutbox;
  readonly #events: EventOutbox;
  readonly #due: DueTimes;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#records = new RecordOutbox(ctx.storage, env.DB);
    this.#events = new EventOutbox(ctx.storage, env, "slashing_untold");
    this.#due = new DueTimes(ctx.storage, {
      records: (nowMs) => this.#records.dueAtMs(nowMs),
      events: (nowMs) => this.#events.dueAtMs(nowMs),
    });
    ctx.storage.sql.exec(
      `CREATE TABLE IF NOT EXISTS slashing (slashing_id TEXT NOT NULL, version INTEGER NOT NULL, row TEXT NOT NULL,
        PRIMARY KEY (slashing_id, version)) WITHOUT ROWID`,
    );
  }

  async add({ worker, amountMicro, reason }: NewSlashing, by: ActingAdmin): Promise<SlashingChange> {
    if (this.open().length >= LIMITS.slashingOpen) return { ok: false, code: "slashing/too-many" };
    const slashingId = `slash_${toHex(crypto.getRandomValues(new Uint8Array(8)))}`;
    return this.#enter({ slashingId, version: 1, status: "pending", worker, amountMicro, reason }, by);
  }

  async change(
    slashingId: string,
    to: Exclude<SlashingStatus, "pending">,
    reason: string,
    by: ActingAdmin,
  ): Promise<SlashingChange> {
    const before = this.#newest(slashingId);
    if (before === null) return { ok: false, code: "slashing/not-found" };
    const step = changeSlashing(before.status, to);
    if (!step.ok) return step;
    if (!step.isNews) return { ok: true, row: before, recorded: this.#records.pending() === 0 };
    const { worker, amountMicro } = before;
    const version = before.version + 1;
    return this.#enter({ slashingId, version, status: step.status, worker, amountMicro, reason }, by);
  }

  open(): OpenSlashing[] {
    return this.#rows().flatMap(({ slashingId: slashing_id, status }) =>
      status === "pending" || status === "contested" ? [{ slashing_id, status }] : [],
    );
  }

  list(onlyOpen: boolean, limit: number): SlashingEventRow[] {
    const isWanted = ({ status }: SlashingEventRow) => !onlyOpen || status === "pending" || status === "contested";
    return this.#rows().filter(isWanted).reverse().slice(0, limit);
  }

  override async alarm(): Promise<void> {
    this.#due.fired();
    await this.#flush();
  }

  async #enter(
    entered: Omit<SlashingEventRow, "id" | "enteredBy" | "enteredAtMs">,
    by: ActingAdmin,
  ): Promise<SlashingChange> {
    const { slashingId: slashing_id, version, status, worker } = entered;
    const row = { ...entered, id: `${slashing_id}:${version}`, enteredBy: by.name, enteredAtMs: Date.now() };
    this.ctx.storage.transactionSync(() => {
      this.ctx.storage.sql.exec("INSERT INTO slashing VALUES (?, ?, ?)", slashing_id, version, JSON.stringify(row));
      this.#records.put("slashing_events", row);
      this.#events.put(draft("slashing_changed", { slashing_id, worker, status, by: by.tokenId }));
    });
    // In the same turn, so that the alarm is part of the commit.
    this.ctx.waitUntil(this.#due.arm(Date.now()));
    const flushing = this.#flush();
    this.ctx.waitUntil(flushing);
    return { ok: true, row, recorded: (await within(LIMITS.recordWaitMs, flushing)) ?? false };
  }

  #newest(slashingId: string): SlashingEventRow | null {
    const newest = "SELECT row FROM slashing WHERE slashing_id = ? ORDER BY version DESC LIMIT 1";
    const found = this.ctx.storage.sql.exec<{ row: string }>(newest, slashingId).toArray()[0];
    return found === undefined ? null : (JSON.parse(found.row) as SlashingEventRow);
  }

  /** The newest row of each event, in the order in which the events were last changed. */
  #rows(): SlashingEventRow[] {
    const rows = this.ctx.storage.sql.exec<{ row: string }>(NEWEST).toArray();
    return rows
      .map(({ row }) => JSON.parse(row) as SlashingEventRow)
      .sort((a, b) => a.enteredAtMs - b.enteredAtMs || (a.id < b.id ? -1 : 1));
  }

  async #flush(): Promise<boolean> {
    const [recorded] = await Promise.all([this.#records.flush(), this.#events.flush()]);
    await this.#due.arm(Date.now());
    return recorded;
  }
}
