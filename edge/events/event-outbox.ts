import type { SharedEvent } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { EVENT_LOG } from "../object-names.ts";
import type { AppendedEvent } from "./event-ledger.ts";
import type { EventDraft } from "./event-log-object.ts";

/** What peers may see is of a shape that they can rely on. */
export type Telling = SharedEvent | (EventDraft & { visibility: "private" });

/** In the transaction that forgets the draft: the log has it. */
export type Heard = (event: AppendedEvent["event"], draft: EventDraft) => void;

/**
 * The one way from another object to `EventLog`: `put` inside the transaction that decides, `flush` whenever. In the log
 * each draft is once, in its order, also when either object dies before it knows that the log has it: drafts have keys.
 */
export class EventOutbox {
  readonly #storage: DurableObjectStorage;
  readonly #env: Env;
  readonly #table: string;
  readonly #heard: Heard;
  #flushing: Promise<void> | null = null;
  #failures = 0;
  #retryAtMs = 0;
  #isForgotten = false;

  /** `table`: persisted contract, drafts that the log has not confirmed, the oldest first. */
  constructor(
    storage: DurableObjectStorage,
    env: Env,
    table: "untold" | "presence_untold" | "admins_untold",
    heard: Heard = () => {},
  ) {
    this.#storage = storage;
    this.#env = env;
    this.#table = table;
    this.#heard = heard;
    storage.sql.exec(
      `CREATE TABLE IF NOT EXISTS ${table} (seq INTEGER PRIMARY KEY AUTOINCREMENT, draft TEXT NOT NULL)`,
    );
  }

  put(draft: Telling): void {
    const keyed: EventDraft = { ...draft, key: crypto.randomUUID() };
    this.#storage.sql.exec(`INSERT INTO ${this.#table} (draft) VALUES (?)`, JSON.stringify(keyed));
  }

  isEmpty(): boolean {
    return [...this.#storage.sql.exec(`SELECT 1 FROM ${this.#table} LIMIT 1`)].length === 0;
  }

  waiting(): number {
    return this.#storage.sql.exec<{ n: number }>(`SELECT count(*) AS n FROM ${this.#table}`).one().n;
  }

  /** Before the storage is emptied: under the same numbers there may then be what somebody else has to tell. */
  forget(): void {
    this.#isForgotten = true;
  }

  /** When the next try is due (epoch ms), or null when nothing waits: later after each try in vain, as the log may be away for days. */
  dueAtMs(nowMs: number): number | null {
    return this.isEmpty() ? null : Math.max(nowMs + LIMITS.outboxRetryMinMs, this.#retryAtMs);
  }

  /** Resolves once the log has it all; rejects while the log is away. One at a time. */
  flush(): Promise<void> {
    this.#flushing ??= this.#drain()
      .then(
        () => {
          this.#failures = 0;
        },
        (error: unknown) => {
          const backoffMs = Math.min(LIMITS.outboxRetryMaxMs, LIMITS.outboxRetryMinMs * 2 ** this.#failures++);
          this.#retryAtMs = Date.now() + backoffMs;
          throw error;
        },
      )
      .finally(() => {
        this.#flushing = null;
      });
    return this.#flushing;
  }

  async #drain(): Promise<void> {
    const oldest = `SELECT seq, draft FROM ${this.#table} ORDER BY seq LIMIT ${LIMITS.eventOutboxRows}`;
    for (;;) {
      const rows = [...this.#storage.sql.exec<{ seq: number; draft: string }>(oldest)];
      const last = rows.at(-1);
      if (!last) return;
      const drafts = rows.map(({ draft }) => JSON.parse(draft) as EventDraft);
      const told = await this.#env.EVENT_LOG.getByName(EVENT_LOG).append(drafts);
      if (this.#isForgotten) return;
      // The log takes nothing now, and says why: the drafts wait, as while it is away.
      if (!told.ok) throw new Error(told.code);
      this.#storage.transactionSync(() => {
        for (const [i, { event }] of told.appended.entries()) {
          if (drafts[i]) this.#heard(event, drafts[i]);
        }
        this.#storage.sql.exec(`DELETE FROM ${this.#table} WHERE seq <= ?`, last.seq);
      });
    }
  }
}
