import { draft } from "../../../schema/wire/event-registry.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { BondStore } from "../bond-store.ts";
import { eventsIn, type Message, messageOf, rulesOf, topicOf } from "./delivery-kind-rules.ts";
import { afterTry, type Delivery, type DeliveryStep, newDelivery, type Outcome } from "./delivery-machine.ts";

/** Persisted contract: a message that waits for the peer, in its `Bond`'s SQLite. `topic` says its kind. */
interface DeliveryRow extends Record<string, SqlStorageValue> {
  id: number;
  target: string;
  body: string;
  tries: number;
  deferrals: number;
  next_at_ms: number;
  topic: string | null;
}

/** `later`: nothing was tried, and nothing can be tried before `atMs`. This is not a failure. */
export type Tried = { type: "tried"; outcome: Outcome } | { type: "later"; atMs: number };

export type GiveUpReason = Extract<DeliveryStep, { type: "given-up" }>["reason"] | "queue-full";

export interface QueueOwner {
  /** `answer`: the peer's verdict, as the message's kind reads it. */
  send(message: Message): Promise<{ tried: Tried; answer: unknown }>;
  /** Called in the transaction that deletes the message. The peer has it, and has answered. */
  delivered(message: Message, answer: unknown): void;
  /** Called in the transaction that deletes the message. The message will not reach the peer. */
  givenUp(message: Message, reason: GiveUpReason): void;
}

/**
 * The queue of messages for one peer. Each message has its own retries (docs/spec/federation.md#delivery). The rules
 * are in `delivery-machine.ts`.
 */
export class DeliveryQueue {
  readonly #storage: DurableObjectStorage;
  readonly #store: BondStore;
  readonly #owner: QueueOwner;
  #running: Promise<void> | null = null;
  #isForgotten = false;

  constructor(storage: DurableObjectStorage, store: BondStore, owner: QueueOwner) {
    this.#storage = storage;
    this.#store = store;
    this.#owner = owner;
    const { sql } = storage;
    sql.exec(
      `CREATE TABLE IF NOT EXISTS deliveries (id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL,
        body TEXT NOT NULL, tries INTEGER NOT NULL, deferrals INTEGER NOT NULL, next_at_ms INTEGER NOT NULL, topic TEXT,
        queued_at_ms INTEGER)`,
    );
    const columns = [...sql.exec<{ name: string }>("SELECT name FROM pragma_table_info('deliveries')")];
    // A table of an older version lacks these.
    for (const [name, type] of Object.entries({ topic: "TEXT", queued_at_ms: "INTEGER" })) {
      if (!columns.some((column) => column.name === name))
        sql.exec(`ALTER TABLE deliveries ADD COLUMN ${name} ${type}`);
    }
  }

  /**
   * Call inside the transaction that decides to send the message. A message with a topic replaces the queued message of
   * the same topic, so the queue always has room for it.
   */
  put(message: Message, nowMs: number): void {
    const { target } = rulesOf(message.kind);
    const topic = topicOf(message);
    if (topic === null && this.waiting() >= LIMITS.deliveriesKept) {
      this.#giveUp(message, "queue-full");
      return;
    }
    const { tries, deferrals, nextAtMs } = newDelivery(nowMs);
    const { sql } = this.#storage;
    sql.exec("DELETE FROM deliveries WHERE topic = ?", topic);
    sql.exec(
      "INSERT INTO deliveries (target, body, tries, deferrals, next_at_ms, topic, queued_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
      target,
      JSON.stringify(message.body),
      tries,
      deferrals,
      nextAtMs,
      topic,
      nowMs,
    );
  }

  /**
   * Call before the storage is erased. An answer that arrives afterwards changes nothing, because its row id may belong
   * to another message by then.
   */
  forget(): void {
    this.#isForgotten = true;
  }

  waiting(): number {
    return this.#storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM deliveries").one().n;
  }

  /** The state of each message that waits, the oldest first. */
  list(): Delivery[] {
    const all = this.#storage.sql.exec<DeliveryRow>("SELECT * FROM deliveries ORDER BY id").toArray();
    return all.map(({ tries, deferrals, next_at_ms: nextAtMs }) => ({ tries, deferrals, nextAtMs }));
  }

  /** Since when the oldest message waits, epoch ms. Null if none waits, or if an older version queued it. */
  waitingSinceMs(): number | null {
    const oldest = "SELECT min(queued_at_ms) AS at FROM deliveries";
    return this.#storage.sql.exec<{ at: number | null }>(oldest).one().at;
  }

  /** Call inside a transaction. The peer will get none of the messages that wait. */
  clear(): void {
    this.#storage.sql.exec("DELETE FROM deliveries");
  }

  /** Call inside a transaction. Deletes the message that waits under this topic. */
  withdraw(topic: string): void {
    this.#storage.sql.exec("DELETE FROM deliveries WHERE topic = ?", topic);
  }

  dueAtMs(): number | null {
    return this.#storage.sql.exec<{ due: number | null }>("SELECT min(next_at_ms) AS due FROM deliveries").one().due;
  }

  /** Tries the due messages one after another, until `send` answers "later". Only one run is active at a time. */
  run(): Promise<void> {
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  /** Makes all messages due now. Call it when the peer is available again. */
  retryNow(nowMs: number): void {
    this.#storage.sql.exec("UPDATE deliveries SET next_at_ms = ? WHERE next_at_ms > ?", nowMs, nowMs);
  }

  /**
   * Reads each row just before it is sent, because it may have been deleted or replaced while an earlier message was
   * sent.
   */
  async #run(): Promise<void> {
    for (let row = this.#due(0); row !== null; row = this.#due(row.id)) {
      const message = messageOf(row);
      const { tried, answer } = await this.#owner.send(message);
      if (this.#isForgotten) return;
      if (tried.type === "later") {
        this.#postpone(tried.atMs);
        return;
      }
      const nextAtMs = this.#after(row, message, { outcome: tried.outcome, answer }, Date.now());
      // "Off" concerns all messages: the others wait as long as this one, and it is not a failed try of any of them.
      if (tried.outcome.type === "off" && nextAtMs !== null) {
        this.#postpone(nextAtMs);
        return;
      }
    }
  }

  /** Stores the outcome of a try. Returns when the message is tried again, epoch ms; null if it is no longer queued. */
  #after(
    row: DeliveryRow,
    message: Message,
    { outcome, answer }: { outcome: Outcome; answer: unknown },
    nowMs: number,
  ): number | null {
    const delivery: Delivery = { tries: row.tries, deferrals: row.deferrals, nextAtMs: row.next_at_ms };
    const step = afterTry(delivery, outcome, nowMs, Math.random());
    const { sql } = this.#storage;
    if (step.type === "retry") {
      const { tries, deferrals, nextAtMs } = step.delivery;
      const update = "UPDATE deliveries SET tries = ?, deferrals = ?, next_at_ms = ? WHERE id = ?";
      sql.exec(update, tries, deferrals, nextAtMs, row.id);
      return nextAtMs;
    }
    // A message that only the queue knows needs no transaction: its deletion is one statement.
    if (step.type === "delivered" && eventsIn(message).length > 0) {
      this.#delete(row.id);
      return null;
    }
    this.#store.transaction(() => {
      // A message that was replaced or cleared during the call is no longer this one.
      if (!this.#delete(row.id)) return;
      if (step.type === "delivered") this.#owner.delivered(message, answer);
      else this.#giveUp(message, step.reason);
    });
    return null;
  }

  #giveUp(message: Message, reason: GiveUpReason): void {
    this.#store.put("givenUp", (this.#store.get("givenUp") ?? 0) + 1);
    // Record the loss as an event, so that our admin sees it (docs/spec/pool.md#shape, rule 7).
    const peer = this.#store.peer?.atomId;
    for (const { event } of eventsIn(message)) {
      const { content_id } = event;
      if (peer !== undefined) this.#store.events.put(draft("delivery_given_up", { peer, content_id, reason }));
    }
    this.#owner.givenUp(message, reason);
  }

  #delete(id: number): boolean {
    return this.#storage.sql.exec("DELETE FROM deliveries WHERE id = ?", id).rowsWritten > 0;
  }

  /** The first due message with an id above `afterId`. */
  #due(afterId: number): DeliveryRow | null {
    const due = "SELECT * FROM deliveries WHERE id > ? AND next_at_ms <= ? ORDER BY id LIMIT 1";
    return this.#storage.sql.exec<DeliveryRow>(due, afterId, Date.now()).toArray()[0] ?? null;
  }

  #postpone(untilMs: number): void {
    this.#storage.sql.exec("UPDATE deliveries SET next_at_ms = ? WHERE next_at_ms < ?", untilMs, untilMs);
  }
}
