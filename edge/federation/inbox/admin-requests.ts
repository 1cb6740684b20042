import type { AdminRequestRow } from "../../../schema/db/admin-requests.ts";
import type { RequestDirection } from "../../../schema/wire/admin-requests.ts";
import { draft } from "../../../schema/wire/event-registry.ts";
import type { FederationPolicy, TrustLevel } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import type { WaitingRequest } from "../../webhook/webhook-messages.ts";
import { WebhookOutbox } from "../../webhook/webhook-outbox.ts";
import type { BondStore } from "../bond-store.ts";
import type { Message } from "../delivery/delivery-kind-rules.ts";
import type { DeliveryQueue, GiveUpReason } from "../delivery/delivery-queue.ts";
import { ApprovedActions } from "./approved-actions.ts";
import { Inbox } from "./inbox.ts";
import { RefusalCounts } from "./refusal-counts.ts";
import type { RequestVerdict } from "./request-answer-rules.ts";
import { RequestBook } from "./request-book.ts";
import { RequestRows, rowOf } from "./request-rows.ts";
import type { SignedRequest, StoredRequest } from "./request-shapes.ts";
import { SentRequests } from "./sent-requests.ts";

interface Owner {
  deliveries(): DeliveryQueue;
  signatureVersion(): 1 | 2;
  /** The trust in effect for a request of this kind. */
  trustFor(kind: "read" | "write", policy: FederationPolicy): TrustLevel;
  /** Sends what waits for the peer, now. */
  deliver(): void;
}

/** All requests between our admin and one peer's admin: received, sent and refused. A part of the peer's `Bond`. */
export class AdminRequests {
  readonly inbox: Inbox;
  readonly sent: SentRequests;
  readonly #store: BondStore;
  readonly #rows: RequestRows;
  readonly #refusals: RefusalCounts;
  readonly #actions: ApprovedActions;
  readonly #webhook: WebhookOutbox;

  constructor(storage: DurableObjectStorage, env: Env, store: BondStore, owner: Owner) {
    this.#store = store;
    this.#rows = new RequestRows(storage.sql);
    this.#refusals = new RefusalCounts(storage.sql, store);
    this.#webhook = new WebhookOutbox(storage, env);
    const book = new RequestBook(this.#rows, store);
    this.#actions = new ApprovedActions(env, store, book, owner);
    const parts = { book, actions: this.#actions };
    this.inbox = new Inbox(env, store, parts, {
      ...owner,
      refusals: () => this.#refusals,
      requestWaits: (request: WaitingRequest) => this.#webhook.put(request),
    });
    this.sent = new SentRequests(store, book, owner.deliveries);
  }

  /** Tells the operator's webhook what waits. True: it knows everything that was put before the call. */
  flush(): Promise<boolean> {
    return this.#webhook.flush();
  }

  /** Call before the storage is deleted. */
  forget(): void {
    this.#webhook.forget();
  }

  /** Does what is due: expiries, approved actions without an answer, counted refusals, old rows. */
  async work(nowMs: number): Promise<void> {
    this.#refusals.publish(nowMs);
    this.sent.expire(nowMs);
    await this.inbox.expire(nowMs);
    this.#rows.deleteDecidedBefore(nowMs - LIMITS.adminRequestKeptMs);
    await this.#actions.runAll();
  }

  dueAtMs(nowMs: number): number | null {
    const oldest = this.#rows.oldestDecisionMs();
    const times = [
      this.#rows.open("received").firstExpiryMs,
      this.#rows.open("sent").firstExpiryMs,
      this.#refusals.dueAtMs(),
      this.#webhook.dueAtMs(nowMs),
      this.#rows.approved().length > 0 ? nowMs + LIMITS.actionRetryMs : null,
      // A millisecond later than the limit, so that the row is older than what is kept.
      oldest === null ? null : oldest + LIMITS.adminRequestKeptMs + 1,
    ].filter((at) => at !== null);
    return times.length === 0 ? null : Math.min(...times);
  }

  /** Call inside a transaction: the peer is removed and hears of no decision any more. */
  peerRemoved(): void {
    this.inbox.peerRemoved();
  }

  /** Call inside a transaction, for each message that the peer has taken. */
  delivered(message: Message, answer: unknown): void {
    if (message.kind === "callback") this.inbox.calledBack(message.body.request_id, "delivered");
    if (message.kind === "admin request") this.sent.answered(message.body.request_id, answer as RequestVerdict);
  }

  /** Call inside a transaction, for each message that the peer will not get. */
  givenUp(message: Message, reason: GiveUpReason): void {
    if (message.kind === "callback") this.inbox.calledBack(message.body.request_id, "given-up");
    if (message.kind === "admin request") this.sent.givenUp(message.body.request_id, reason);
  }

  /** Null: there is no such request. */
  find(direction: RequestDirection, requestId: string): Omit<StoredRequest, "isRecorded"> | null {
    const record = this.#rows.find(direction, requestId);
    const peer = this.#store.peer?.atomId;
    if (record === null || peer === undefined) return null;
    return { row: rowOf(peer, record), result: record.result, callback: record.callback };
  }

  /** The admin's signature on a received write, to verify it again. */
  signedRequest(requestId: string): SignedRequest | null {
    const record = this.#rows.find("received", requestId);
    if (record === null) return null;
    return { action: record.action, params: JSON.stringify(record.params), signature: record.signature };
  }

  /**
   * Erases the texts of people. The log keeps their salted hashes. `row`: the copy in D1, for a request that this object no
   * longer keeps. False: there is no such request.
   */
  erase(direction: RequestDirection, requestId: string, row: AdminRequestRow | null, by: string): boolean {
    const record = this.#rows.find(direction, requestId);
    const peer = this.#store.peer?.atomId;
    const before = record === null || peer === undefined ? row : rowOf(peer, record);
    if (before === null) return false;
    if (before.email === null && before.note === null) return true;
    this.#store.transaction(() => {
      if (record !== null) this.#rows.put({ ...record, email: null, note: null });
      this.#store.records.put("admin_requests", {
        ...before,
        email: null,
        emailSalt: null,
        note: null,
        noteSalt: null,
      });
      this.#store.events.put(draft("texts_erased", { of: { peer: before.peer, request_id: requestId }, by }));
    });
    return true;
  }
}
