import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { FlushLoop } from "../record/flush-loop.ts";
import { webhookForBonds } from "./webhook-for.ts";
import { requestWaits, type WaitingRequest } from "./webhook-messages.ts";

/**
 * Tells `Webhook` of requests that wait for our admin. Call `put` inside the transaction in which a request begins to wait,
 * and `flush` afterwards. `Webhook` then hears of each request, even if either object crashes. A repeat changes nothing,
 * because the message's id depends on the request alone.
 */
export class WebhookOutbox {
  readonly #sql: SqlStorage;
  readonly #env: Pick<Env, "WEBHOOK">;
  readonly #loop = new FlushLoop("webhook-outbox-flush-failed", (sent) => this.#drain(sent));

  constructor({ sql }: Pick<DurableObjectStorage, "sql">, env: Pick<Env, "WEBHOOK">) {
    this.#sql = sql;
    this.#env = env;
    // Persisted contract.
    sql.exec(
      "CREATE TABLE IF NOT EXISTS webhook_unsent (seq INTEGER PRIMARY KEY AUTOINCREMENT, request TEXT NOT NULL)",
    );
  }

  put(request: WaitingRequest): void {
    this.#sql.exec("INSERT INTO webhook_unsent (request) VALUES (?)", JSON.stringify(request));
  }

  /** When the next attempt is due, epoch ms; null if nothing waits. */
  dueAtMs(nowMs: number): number | null {
    return this.#oldest().length === 0 ? null : this.#loop.retryAtMs(nowMs);
  }

  /** Call before the object's storage is deleted. */
  forget(): void {
    this.#loop.close();
  }

  /** True: `Webhook` knows everything that was put before the call. */
  flush(): Promise<boolean> {
    return this.#loop.run();
  }

  async #drain(sent: () => void): Promise<void> {
    while (!this.#loop.isClosed) {
      const rows = this.#oldest();
      const last = rows.at(-1);
      if (!last) return;
      const requests = rows.map(({ request }) => JSON.parse(request) as WaitingRequest);
      await webhookForBonds(this.#env).notify(await Promise.all(requests.map(requestWaits)));
      if (this.#loop.isClosed) return;
      this.#sql.exec("DELETE FROM webhook_unsent WHERE seq <= ?", last.seq);
      sent();
    }
  }

  #oldest(): { seq: number; request: string }[] {
    const oldest = "SELECT seq, request FROM webhook_unsent ORDER BY seq LIMIT ?";
    return this.#sql.exec<{ seq: number; request: string }>(oldest, LIMITS.eventOutboxRows).toArray();
  }
}
