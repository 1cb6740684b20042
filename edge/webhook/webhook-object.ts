import { DurableObject } from "cloudflare:workers";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { draft } from "../../schema/wire/event-registry.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { WebhookStatus, WebhookTry } from "../../schema/wire/webhook.ts";
import type { ActingAdmin } from "../admins/admin-tokens-rpc.ts";
import type { Env } from "../env.ts";
import { DueTimes } from "../limits/due-times.ts";
import { within } from "../limits/timeout.ts";
import { EventOutbox } from "../record/event-outbox.ts";
import { MessageQueue } from "./message-queue.ts";
import { type OutgoingMessage, postWebhook, type WebhookTarget } from "./webhook-client.ts";
import { afterWebhookTry, isDelivered } from "./webhook-delivery-machine.ts";
import type { WebhookMessage, WebhookOutcome, WebhookRpc } from "./webhook-rpc.ts";

/** Persisted contract. */
interface Settings extends WebhookTarget {
  readonly setBy: string;
  readonly setAtMs: number;
  /** Changes with each `set`. A try that began before it says nothing about the new webhook. */
  readonly version: string;
}

/** One object per pool: the operator's webhook, and the messages that wait for it (docs/spec/webhook.md). */
export class Webhook extends DurableObject<Env> implements WebhookRpc {
  readonly #queue: MessageQueue;
  readonly #events: EventOutbox;
  readonly #due: DueTimes;
  #running: Promise<void> | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#queue = new MessageQueue(ctx.storage.sql);
    this.#events = new EventOutbox(ctx.storage, env, "webhook_untold");
    this.#due = new DueTimes(ctx.storage, {
      events: (nowMs) => this.#events.dueAtMs(nowMs),
      // A message that is due now is already being tried, so an immediate alarm would find nothing to do.
      messages: (nowMs) => {
        const dueAtMs = this.#queue.dueAtMs();
        return dueAtMs === null ? null : Math.max(dueAtMs, nowMs + LIMITS.outboxRetryMinMs);
      },
    });
  }

  notify(messages: WebhookMessage[]): void {
    if (this.#settings === null) return;
    const nowMs = Date.now();
    this.ctx.storage.transactionSync(() => {
      for (const message of messages) {
        for (const message_id of this.#queue.put(outgoing(message), nowMs))
          this.#events.put(draft("webhook_given_up", { message_id, reason: "queue-full" }));
      }
    });
    this.#committed();
  }

  async set(url: string, secret: string, by: ActingAdmin): Promise<void> {
    const nowMs = Date.now();
    const settings: Settings = { url, secret, setBy: by.name, setAtMs: nowMs, version: crypto.randomUUID() };
    this.ctx.storage.transactionSync(() => {
      this.ctx.storage.kv.put("settings", settings);
      this.ctx.storage.kv.delete("last");
      this.#queue.restart(nowMs);
      this.#events.put(draft("webhook_changed", { by: by.tokenId, is_set: true }));
    });
    await this.#told();
  }

  async remove(by: ActingAdmin): Promise<boolean> {
    if (this.#settings === null) return false;
    this.ctx.storage.transactionSync(() => {
      this.ctx.storage.kv.delete("settings");
      this.ctx.storage.kv.delete("last");
      this.#queue.clear();
      this.#events.put(draft("webhook_changed", { by: by.tokenId, is_set: false }));
    });
    await this.#told();
    return true;
  }

  async sendTest(message: WebhookMessage): Promise<WebhookOutcome | null> {
    const settings = this.#settings;
    if (settings === null) return null;
    const outcome = await postWebhook(this.env, settings, outgoing(message));
    if (this.#settings?.version === settings.version) this.#tried(message.id, outcome);
    return outcome;
  }

  status(): WebhookStatus {
    const settings = this.#settings;
    if (settings === null) return { webhook: null };
    return {
      webhook: {
        url: settings.url,
        set_by: settings.setBy,
        set_at: new Date(settings.setAtMs).toISOString(),
        waiting: this.#queue.waiting(),
        last: this.ctx.storage.kv.get<WebhookTry>("last") ?? null,
      },
    };
  }

  pendingEvents(): number {
    return this.#events.pending();
  }

  async wake(): Promise<void> {
    this.#due.reread();
    await this.#work();
  }

  override async alarm(): Promise<void> {
    this.#due.fired();
    await this.#work();
  }

  /** Call it in the turn of the transaction: the alarm is then part of the commit, and a crash loses nothing. */
  #committed(): Promise<void> {
    this.ctx.waitUntil(this.#due.arm(Date.now()));
    const work = this.#work();
    this.ctx.waitUntil(work);
    return work;
  }

  /** After an admin's change: waits for the event log, but not long, because the admin waits for the answer. */
  async #told(): Promise<void> {
    this.#committed();
    await within(LIMITS.recordWaitMs, this.#events.flush());
  }

  /** One try to send what is due. The alarm repeats what fails now. */
  async #work(): Promise<void> {
    this.#running ??= this.#deliver().finally(() => {
      this.#running = null;
    });
    await Promise.all([this.#events.flush(), this.#running]);
    // A delivery may have put an event.
    await this.#events.flush();
    await this.#due.arm(Date.now());
  }

  /** Tries the due messages one after another. */
  async #deliver(): Promise<void> {
    for (let tried = 0; tried < LIMITS.webhookTriesPerRun; tried++) {
      const settings = this.#settings;
      const message = this.#queue.due(Date.now());
      if (settings === null || message === null) return;
      const outcome = await postWebhook(this.env, settings, message);
      // The webhook was changed meanwhile: what waits goes to the new one.
      if (this.#settings?.version !== settings.version) continue;
      const step = afterWebhookTry(message.tries, outcome, Date.now(), Math.random());
      this.ctx.storage.transactionSync(() => {
        this.#tried(message.id, outcome);
        if (step.type === "retry") this.#queue.retry(message.id, step.tries, step.nextAtMs);
        // A message that made room for a newer one during the call was given up then.
        else if (this.#queue.end(message.id) && step.type === "given-up")
          this.#events.put(draft("webhook_given_up", { message_id: message.id, reason: step.reason }));
      });
    }
  }

  /** Stores the last try, for the admin. */
  #tried(messageId: string, outcome: WebhookOutcome): void {
    if (outcome.type === "policy-unknown") return;
    const status = outcome.type === "answered" ? outcome.status : null;
    const last: WebhookTry = {
      message_id: messageId,
      at: new Date().toISOString(),
      delivered: status !== null && isDelivered(status),
      status,
      failure: outcome.type === "failed" ? outcome.failure : null,
    };
    this.ctx.storage.kv.put("last", last);
  }

  get #settings(): Settings | null {
    return this.ctx.storage.kv.get<Settings>("settings") ?? null;
  }
}

function outgoing({ id, payload }: WebhookMessage): OutgoingMessage {
  return { id, payload: utf8(JSON.stringify(payload)) };
}
