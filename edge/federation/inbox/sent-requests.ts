import type { SentStatus } from "../../../schema/wire/admin-requests.ts";
import { draft } from "../../../schema/wire/event-registry.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { BondStore } from "../bond-store.ts";
import { topicOfRequest } from "../delivery/delivery-kind-rules.ts";
import type { DeliveryQueue, GiveUpReason } from "../delivery/delivery-queue.ts";
import type { RequestVerdict } from "./request-answer-rules.ts";
import type { RequestBook } from "./request-book.ts";
import type { RequestRecord } from "./request-rows.ts";
import type { ActingAdmin, OutgoingRequest, ReceivedCallback, SentAnswer } from "./request-shapes.ts";
import { isAwaited, type SentEvent, type SentState, sent, stepSent } from "./sent-request-machine.ts";

/** The requests that our admin sent to one peer's admin (docs/spec/federation.md#admin-requests). */
export class SentRequests {
  readonly #store: BondStore;
  readonly #book: RequestBook;
  readonly #deliveries: () => DeliveryQueue;

  constructor(store: BondStore, book: RequestBook, deliveries: () => DeliveryQueue) {
    this.#store = store;
    this.#book = book;
    this.#deliveries = deliveries;
  }

  /** Stores the request and queues it for the peer. The same request again changes nothing. */
  send({ body, contentsHash, email }: OutgoingRequest, admin: ActingAdmin): SentAnswer {
    const nowMs = Date.now();
    return this.#store.transaction(() => {
      const known = this.#book.find("sent", body.request_id);
      if (known?.contentsHash === contentsHash) return { ok: true };
      if (known !== null) return { ok: false, code: "federation/request-id-reused" };
      if (this.#book.rows.open("sent").count >= LIMITS.adminRequestsSentOpen) {
        return { ok: false, code: "federation/too-many-pending" };
      }
      const { status, sentAtMs, expiresAtMs } = sent(nowMs);
      const params = body.action_params;
      this.#book.save({
        direction: "sent",
        requestId: body.request_id,
        action: body.action_type,
        params,
        status,
        createdAtMs: sentAtMs,
        expiresAtMs,
        decidedAtMs: null,
        admin: admin.name,
        error: null,
        email,
        note: null,
        signature: body.admin_signature ?? null,
        contentsHash,
        result: null,
        callback: null,
        tries: 0,
      });
      this.#store.events.put(
        draft("request_sent", {
          ...this.#book.named(body.request_id),
          action: body.action_type,
          params: params as never,
          by: admin.tokenId,
          email_hash: email?.hash ?? null,
          key_id: body.admin_signature?.key_id ?? null,
        }),
      );
      this.#deliveries().put({ kind: "admin request", body: body as never }, nowMs);
      return { ok: true };
    });
  }

  /** Call inside a transaction: the peer has answered our request. */
  answered(requestId: string, verdict: RequestVerdict): void {
    if (verdict.type === "refused") this.#refused(requestId, verdict.code, verdict.words);
    else this.#step(requestId, { type: "accepted", status: verdict.status }, {});
  }

  /** Call inside a transaction: the request will not reach the peer. */
  givenUp(requestId: string, reason: GiveUpReason): void {
    const words = reason === "gone" ? "The other pool has no such endpoint." : "The other pool could not be reached.";
    this.#refused(requestId, reason === "gone" ? "gone" : "unreachable", words);
  }

  /** A callback for a request that was not sent to this peer is refused. */
  calledBack({ requestId, status, result, error }: ReceivedCallback): SentAnswer {
    return this.#store.transaction(() => this.#step(requestId, { type: "called-back", status }, { result, error }));
  }

  expire(nowMs: number): void {
    const expired = this.#book.rows.expired(nowMs).filter(({ direction }) => direction === "sent");
    if (expired.length === 0) return;
    this.#store.transaction(() => {
      for (const { requestId } of expired) this.#step(requestId, { type: "time" }, {}, nowMs);
    });
  }

  #refused(requestId: string, code: string, words: string): void {
    this.#step(requestId, { type: "refused" }, { error: words }, Date.now(), code);
  }

  /** Call inside a transaction. */
  #step(
    requestId: string,
    event: SentEvent,
    change: Partial<Pick<RequestRecord, "result" | "error">>,
    nowMs: number = Date.now(),
    code: string | null = null,
  ): SentAnswer {
    const record = this.#book.find("sent", requestId);
    if (record === null) return { ok: false, code: "federation/callback-unknown" };
    const next = stepSent(stateOf(record), event, nowMs);
    if (!next.ok) return next;
    if (!next.isNews) return { ok: true };
    const { status } = next.state;
    const isAwaitedStill = isAwaited({ status });
    this.#book.save({ ...record, ...change, status, decidedAtMs: isAwaitedStill ? null : nowMs });
    if (!isAwaitedStill) this.#deliveries().withdraw(topicOfRequest(requestId));
    if (status !== "sending") {
      this.#store.events.put(draft("request_answered", { ...this.#book.named(requestId), status, code }));
    }
    return { ok: true };
  }
}

function stateOf({ status, createdAtMs, expiresAtMs }: RequestRecord): SentState {
  return { status: status as SentStatus, sentAtMs: createdAtMs, expiresAtMs };
}
