import type { PushBody } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { afterTry, type Delivery, type DeliveryStep, newDelivery, type Outcome } from "./delivery-machine.ts";

/** Persisted contract: a message that waits for the peer, in its `Bond`'s SQLite. */
interface DeliveryRow extends Record<string, SqlStorageValue> {
  id: number;
  target: string;
  body: string;
  tries: number;
  deferrals: number;
  next_at_ms: number;
}

export interface Message {
  /** `pathname + search`. */
  readonly target: string;
  readonly body: PushBody;
}

/** `later`: nothing was tried, and nothing will be before that time; that is no failure. */
export type Tried = { type: "tried"; outcome: Outcome } | { type: "later"; atMs: number };

export type GiveUpReason = Extract<DeliveryStep, { type: "given-up" }>["reason"] | "queue-full";

export interface Carrier {
  send(message: Message): Promise<Tried>;
  /** In the transaction that forgets the message: it will not reach the peer. */
  gaveUp(message: Message, reason: GiveUpReason): void;
}

/** What is queued for one peer, each message on its own (docs/spec/federation.md#delivery). The rules are in `delivery-machine.ts`. */
export class DeliveryQueue {
  readonly #storage: DurableObjectStorage;
  readonly #carrier: Carrier;
  #running: Promise<void> | null = null;
  #isForgotten = false;

  constructor(storage: DurableObjectStorage, carrier: Carrier) {
    this.#storage = storage;
    this.#carrier = carrier;
    const { sql } = storage;
    sql.exec(
      `CREATE TABLE IF NOT EXISTS deliveries (id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL,
        body TEXT NOT NULL, tries INTEGER NOT NULL, deferrals INTEGER NOT NULL, next_at_ms INTEGER NOT NULL, topic TEXT,
        queued_at_ms INTEGER)`,
    );
    const columns = [...sql.exec<{ name: string }>("SELECT name FROM pragma_table_info('deliveries')")];
    // A table that was made before there were these.
    for (const [name, type] of Object.entries({ topic: "TEXT", queued_at_ms: "INTEGER" })) {
      if (!columns.some((column) => column.name === name))
        sql.exec(`ALTER TABLE deliveries ADD COLUMN ${name} ${type}`);
    }
  }

  /**
   * Call inside the transaction that decides it. Of one topic only the newest message is worth telling: it takes the
   * place of the one that waits, so that it always has room. Null: it stands for itself.
   */
  put(message: Message, topic: string | null, nowMs: number): void {
    if (topic === null && this.waiting() >= LIMITS.deliveriesKept) {
      this.#carrier.gaveUp(message, "queue-full");
      return;
    }
    const { tries, deferrals, nextAtMs } = newDelivery(nowMs);
    const { sql } = this.#storage;
    sql.exec("DELETE FROM deliveries WHERE topic = ?", topic);
    sql.exec(
      "INSERT INTO deliveries (target, body, tries, deferrals, next_at_ms, topic, queued_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
      message.target,
      JSON.stringify(message.body),
      tries,
      deferrals,
      nextAtMs,
      topic,
      nowMs,
    );
  }

  /** Before the storage is emptied: what is on its way changes nothing any more, for its number may be another's. */
  forget(): void {
    this.#isForgotten = true;
  }

  waiting(): number {
    return this.#storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM deliveries").one().n;
  }

  /** Since when the oldest waits; null for nothing, and for what was queued before this was kept. */
  waitingSinceMs(): number | null {
    const oldest = "SELECT min(queued_at_ms) AS at FROM deliveries";
    return this.#storage.sql.exec<{ at: number | null }>(oldest).one().at;
  }

  clear(): void {
    this.#storage.sql.exec("DELETE FROM deliveries");
  }

  dueAtMs(): number | null {
    return this.#storage.sql.exec<{ due: number | null }>("SELECT min(next_at_ms) AS due FROM deliveries").one().due;
  }

  /** Tries what is due, one after another, until it is told to wait. One run at a time. */
  run(): Promise<void> {
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** The peer is back: what waited for it is due. */
  retryNow(nowMs: number): void {
    this.#storage.sql.exec("UPDATE deliveries SET next_at_ms = ? WHERE next_at_ms > ?", nowMs, nowMs);
  }

  /** Each is read when its turn comes: while another was under way it may have been taken back, or put. */
  async #run(): Promise<void> {
    for (let row = this.#due(0); row !== null; row = this.#due(row.id)) {
      const message: Message = { target: row.target, body: JSON.parse(row.body) };
      const tried = await this.#carrier.send(message);
      if (this.#isForgotten) return;
      if (tried.type === "later") {
        this.#postpone(tried.atMs);
        return;
      }
      const nextAtMs = this.#after(row, message, tried.outcome, Date.now());
      // It said so for all that waits: the others wait with this one, and it is counted against none of them.
      if (tried.outcome.type === "off" && nextAtMs !== null) {
        this.#postpone(nextAtMs);
        return;
      }
    }
  }

  /** When it is tried again; null: never. */
  #after(row: DeliveryRow, message: Message, outcome: Outcome, nowMs: number): number | null {
    const delivery: Delivery = { tries: row.tries, deferrals: row.deferrals, nextAtMs: row.next_at_ms };
    const step = afterTry(delivery, outcome, nowMs, Math.random());
    const { sql } = this.#storage;
    if (step.type === "retry") {
      const { tries, deferrals, nextAtMs } = step.delivery;
      const update = "UPDATE deliveries SET tries = ?, deferrals = ?, next_at_ms = ? WHERE id = ?";
      sql.exec(update, tries, deferrals, nextAtMs, row.id);
      return nextAtMs;
    }
    this.#storage.transactionSync(() => {
      const { rowsWritten } = sql.exec("DELETE FROM deliveries WHERE id = ?", row.id);
      // What was taken back meanwhile is nobody's to miss.
      if (step.type === "given-up" && rowsWritten > 0) this.#carrier.gaveUp(message, step.reason);
    });
    return null;
  }

  /** The first that is due after that one. */
  #due(afterId: number): DeliveryRow | null {
    const due = "SELECT * FROM deliveries WHERE id > ? AND next_at_ms <= ? ORDER BY id LIMIT 1";
    return this.#storage.sql.exec<DeliveryRow>(due, afterId, Date.now()).toArray()[0] ?? null;
  }

  #postpone(untilMs: number): void {
    this.#storage.sql.exec("UPDATE deliveries SET next_at_ms = ? WHERE next_at_ms < ?", untilMs, untilMs);
  }
}
