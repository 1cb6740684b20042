import { afterTry, type Delivery, newDelivery, type Outcome } from "./delivery.ts";

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
  readonly body: unknown;
}

/** `later`: nothing was tried, and nothing will be before that time; that is no failure. */
export type Tried = { type: "tried"; outcome: Outcome } | { type: "later"; atMs: number };

/** What is queued for one peer, each message on its own (SPEC 3.7). The rules are in `delivery.ts`. */
export class DeliveryQueue {
  readonly #sql: SqlStorage;
  #running: Promise<void> | null = null;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(
      `CREATE TABLE IF NOT EXISTS deliveries (id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL,
        body TEXT NOT NULL, tries INTEGER NOT NULL, deferrals INTEGER NOT NULL, next_at_ms INTEGER NOT NULL)`,
    );
  }

  /** Call inside the transaction that decides it. */
  put({ target, body }: Message, nowMs: number): void {
    const { tries, deferrals, nextAtMs } = newDelivery(nowMs);
    this.#sql.exec(
      "INSERT INTO deliveries (target, body, tries, deferrals, next_at_ms) VALUES (?, ?, ?, ?, ?)",
      target,
      JSON.stringify(body),
      tries,
      deferrals,
      nextAtMs,
    );
  }

  waiting(): number {
    return this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM deliveries").one().n;
  }

  clear(): void {
    this.#sql.exec("DELETE FROM deliveries");
  }

  dueAtMs(): number | null {
    return this.#sql.exec<{ due: number | null }>("SELECT min(next_at_ms) AS due FROM deliveries").one().due;
  }

  /** Tries what is due, one after another, until it is told to wait. One run at a time. */
  run(send: (message: Message) => Promise<Tried>): Promise<void> {
    this.#running ??= this.#run(send).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #run(send: (message: Message) => Promise<Tried>): Promise<void> {
    for (const row of this.#due(Date.now())) {
      const tried = await send({ target: row.target, body: JSON.parse(row.body) });
      if (tried.type === "later") {
        this.#postpone(tried.atMs);
        return;
      }
      this.#after(row, tried.outcome, Date.now());
    }
  }

  /** The peer is back: what waited for it is due. */
  hurry(nowMs: number): void {
    this.#sql.exec("UPDATE deliveries SET next_at_ms = ? WHERE next_at_ms > ?", nowMs, nowMs);
  }

  #after(row: DeliveryRow, outcome: Outcome, nowMs: number): void {
    const delivery: Delivery = { tries: row.tries, deferrals: row.deferrals, nextAtMs: row.next_at_ms };
    const step = afterTry(delivery, outcome, nowMs, Math.random());
    if (step.type === "retry") {
      const { tries, deferrals, nextAtMs } = step.delivery;
      const update = "UPDATE deliveries SET tries = ?, deferrals = ?, next_at_ms = ? WHERE id = ?";
      this.#sql.exec(update, tries, deferrals, nextAtMs, row.id);
      return;
    }
    if (step.type === "given-up") {
      console.warn(JSON.stringify({ event: "delivery-given-up", reason: step.reason, target: row.target }));
    }
    this.#sql.exec("DELETE FROM deliveries WHERE id = ?", row.id);
  }

  #due(nowMs: number): DeliveryRow[] {
    const due = "SELECT * FROM deliveries WHERE next_at_ms <= ? ORDER BY id LIMIT 100";
    return [...this.#sql.exec<DeliveryRow>(due, nowMs)];
  }

  #postpone(untilMs: number): void {
    this.#sql.exec("UPDATE deliveries SET next_at_ms = ? WHERE next_at_ms < ?", untilMs, untilMs);
  }
}
