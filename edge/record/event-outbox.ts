import type { EventDraft } from "../../schema/wire/event-registry.ts";
import type { SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { eventLogForOutboxes } from "./event-log-for.ts";
import { FlushLoop } from "./flush-loop.ts";
import type { StoredDraft } from "./stored-draft.ts";

/** Persisted contract: table names, one for each outbox. The names are those of the first release. */
export type EventOutboxTable =
  | "untold"
  | "presence_untold"
  | "admins_untold"
  | "policy_pending"
  | "webhook_untold"
  | "slashing_untold"
  | "lane_untold";

/** Called inside the transaction that deletes the draft, because the log has its event. */
export type OnAppended = (event: SignedEvent, draft: StoredDraft) => void;

/**
 * The only way for an object to append to `EventLog`. Call `put` inside the transaction of the decision that the event
 * records, and `flush` afterwards. The log then gets each draft once and in order, even if either object crashes,
 * because each draft has a key.
 */
export class EventOutbox {
  readonly #storage: DurableObjectStorage;
  readonly #env: Pick<Env, "EVENT_LOG">;
  readonly #table: EventOutboxTable;
  readonly #onAppended: OnAppended;
  readonly #loop = new FlushLoop("event-outbox-flush-failed", (sent) => this.#drain(sent));

  constructor(
    storage: DurableObjectStorage,
    env: Pick<Env, "EVENT_LOG">,
    table: EventOutboxTable,
    onAppended: OnAppended = () => {},
  ) {
    this.#storage = storage;
    this.#env = env;
    this.#table = table;
    this.#onAppended = onAppended;
    storage.sql.exec(
      `CREATE TABLE IF NOT EXISTS ${table} (seq INTEGER PRIMARY KEY AUTOINCREMENT, draft TEXT NOT NULL)`,
    );
  }

  put({ type, visibility, payload }: EventDraft): void {
    this.adopt({ type, visibility, payload, key: crypto.randomUUID() });
  }

  /** Puts a draft that an earlier release stored elsewhere. The log may know its key already. */
  adopt(draft: StoredDraft & { key: string }): void {
    this.#storage.sql.exec(`INSERT INTO ${this.#table} (draft) VALUES (?)`, JSON.stringify(draft));
  }

  /** How many drafts the log has not confirmed. */
  pending(): number {
    return this.#storage.sql.exec<{ n: number }>(`SELECT count(*) AS n FROM ${this.#table}`).one().n;
  }

  /**
   * Call before the object's storage is deleted. Afterwards the same row numbers may belong to drafts of another peer.
   */
  forget(): void {
    this.#loop.close();
  }

  /** When the next attempt is due (epoch ms), or null when nothing is pending. */
  dueAtMs(nowMs: number): number | null {
    return this.pending() === 0 ? null : this.#loop.retryAtMs(nowMs);
  }

  /**
   * Sends the drafts. True: the log has everything that was put before the call. False: the log is unavailable, or does
   * not trust its clock.
   */
  flush(): Promise<boolean> {
    return this.#loop.run();
  }

  async #drain(sent: () => void): Promise<void> {
    const oldest = `SELECT seq, draft FROM ${this.#table} ORDER BY seq LIMIT ${LIMITS.eventOutboxRows}`;
    while (!this.#loop.isClosed) {
      const rows = [...this.#storage.sql.exec<{ seq: number; draft: string }>(oldest)];
      const last = rows.at(-1);
      if (!last) return;
      const drafts = rows.map(({ draft }) => JSON.parse(draft) as StoredDraft);
      const answer = await eventLogForOutboxes(this.#env).append(drafts);
      if (this.#loop.isClosed) return;
      if (!answer.ok) throw new LogRefused(answer.code);
      this.#storage.transactionSync(() => {
        for (const [i, { event }] of answer.appended.entries()) {
          if (drafts[i]) this.#onAppended(event, drafts[i]);
        }
        this.#storage.sql.exec(`DELETE FROM ${this.#table} WHERE seq <= ?`, last.seq);
      });
      sent();
    }
  }
}

/** The log answers, but appends nothing now, because it does not trust its clock. */
class LogRefused extends Error {
  constructor(code: string) {
    super("the event log appends nothing now", { cause: new Error(code) });
  }
}
