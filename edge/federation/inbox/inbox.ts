import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { draft } from "../../../schema/wire/event-registry.ts";
import type { FederationPolicy, TrustLevel } from "../../../schema/wire/federation.ts";
import type { Env } from "../../env.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import type { OpenSlashing } from "../../market/slashing-rpc.ts";
import type { ErasableText } from "../../record/erasable-text.ts";
import type { WaitingRequest } from "../../webhook/webhook-messages.ts";
import type { BondStore } from "../bond-store.ts";
import { isKnownAction, readParams, traitsOf } from "./actions.ts";
import type { ApprovedActions } from "./approved-actions.ts";
import type { GuardContext } from "./guard-rules.ts";
import { approveRequest, receiveRequest } from "./inbox-rules.ts";
import { type RequestStep, step } from "./received-request-machine.ts";
import type { RefusalCounts } from "./refusal-counts.ts";
import type { RequestBook } from "./request-book.ts";
import { type RequestRecord, stateOf } from "./request-rows.ts";
import type { ActingAdmin, ApprovalFacts, Decided, IncomingRequest, ReceivedRequest } from "./request-shapes.ts";

interface Owner {
  refusals(): RefusalCounts;
  /** The trust in effect for a request of this kind. */
  trustFor(kind: "read" | "write", policy: FederationPolicy): TrustLevel;
  /** Call inside a transaction: the operator hears of it by the webhook. */
  requestWaits(request: WaitingRequest): void;
  /** Sends what waits for the peer, now. */
  deliver(): void;
}

/**
 * The requests of one peer's admin to our admin (docs/spec/federation.md#admin-requests). The rules are in `guard-rules.ts`,
 * `inbox-rules.ts` and `received-request-machine.ts`; each step is stored, with its event, in one transaction.
 */
export class Inbox {
  readonly #env: Env;
  readonly #store: BondStore;
  readonly #book: RequestBook;
  readonly #actions: ApprovedActions;
  readonly #owner: Owner;

  constructor(env: Env, store: BondStore, parts: { book: RequestBook; actions: ApprovedActions }, owner: Owner) {
    this.#env = env;
    this.#store = store;
    this.#book = parts.book;
    this.#actions = parts.actions;
    this.#owner = owner;
  }

  async receive(request: IncomingRequest, policy: FederationPolicy): Promise<ReceivedRequest> {
    const nowMs = Date.now();
    await this.expire(nowMs);
    return this.#store.transaction(() => {
      const received = this.#receive(request, policy, nowMs);
      if (!received.ok) this.#owner.refusals().count(received.code, nowMs);
      return received;
    }, "soon");
  }

  async approve(
    requestId: string,
    reason: ErasableText | null,
    facts: ApprovalFacts,
    admin: ActingAdmin,
    policy: FederationPolicy,
  ): Promise<Decided> {
    const nowMs = Date.now();
    await this.expire(nowMs);
    const approved = this.#store.transaction((): Decided => {
      const record = this.#book.find("received", requestId);
      if (record === null) return { ok: false, code: "federation/request-not-found" };
      const context = this.#context(record.action, policy, {
        nowMs,
        adminSignature: facts.signatureState,
        adminSignatureExpiresAt: record.signature?.expires_at ?? null,
        // Only version 2 lands a write.
        signatureVersion: 2,
        openSlashings: facts.openSlashings.length,
      });
      if (context === null) return { ok: false, code: "federation/unknown-action" };
      const approval = approveRequest(stateOf(record), reason !== null, context);
      if (!approval.ok) return approval;
      if (approval.next === "nothing") return { ok: true };
      const overridden = context.heedsSlashing && facts.openSlashings.length > 0 ? [...facts.openSlashings] : null;
      if (context.kind === "write") this.#store.put("approvedWriteAtMs", nowMs);
      const note = overridden === null ? null : reason;
      this.#decided({ ...record, note }, "approved", admin, overridden, nowMs);
      return { ok: true };
    });
    if (approved.ok) await this.#actions.runAll();
    return approved;
  }

  async reject(requestId: string, note: ErasableText | null, admin: ActingAdmin): Promise<Decided> {
    const nowMs = Date.now();
    await this.expire(nowMs);
    const { atomId } = await poolKeys(this.#env);
    const rejected = this.#store.transaction((): Decided => {
      const record = this.#book.find("received", requestId);
      if (record === null) return { ok: false, code: "federation/request-not-found" };
      const next = step(stateOf(record), { type: "reject" }, nowMs);
      if (!next.ok) return next;
      if (next.next === "call-back")
        this.#actions.callBack(this.#decided({ ...record, note }, "rejected", admin, null, nowMs), atomId);
      return { ok: true };
    });
    this.#owner.deliver();
    return rejected;
  }

  /** Ends what has expired by now, and queues the callbacks. */
  async expire(nowMs: number): Promise<void> {
    const expired = this.#book.rows.expired(nowMs).filter(({ direction }) => direction === "received");
    if (expired.length === 0) return;
    const { atomId } = await poolKeys(this.#env);
    this.#store.transaction(() => {
      for (const { requestId } of expired) {
        const record = this.#book.find("received", requestId);
        if (record === null) continue;
        const next = step(stateOf(record), { type: "time" }, nowMs);
        if (!next.ok || next.next !== "call-back") continue;
        this.#actions.callBack(this.#decided(record, "expired", null, null, nowMs), atomId);
      }
    });
  }

  /** Call inside a transaction: the peer has our callback, or will never have it. */
  calledBack(requestId: string, outcome: "delivered" | "given-up"): void {
    const record = this.#book.find("received", requestId);
    if (record === null || record.callback !== "waiting") return;
    const next: RequestStep | null =
      outcome === "given-up" ? step(stateOf(record), { type: "callback-given-up" }, Date.now()) : null;
    const status = next?.ok ? next.state.status : record.status;
    this.#book.save({ ...record, status, callback: outcome });
    this.#store.events.put(draft("request_called_back", { ...this.#book.named(requestId), outcome }));
  }

  /** Call inside a transaction, when the peer is removed: it hears of no decision any more. */
  peerRemoved(): void {
    for (const requestId of this.#book.rows.waitingForCallback()) this.calledBack(requestId, "given-up");
  }

  #receive(request: IncomingRequest, policy: FederationPolicy, nowMs: number): ReceivedRequest {
    const { requestId, action, signature } = request;
    const facts = {
      nowMs,
      adminSignature: request.signatureState,
      adminSignatureExpiresAt: signature?.expires_at ?? null,
      signatureVersion: request.signatureVersion,
      openSlashings: request.openSlashings,
    };
    const context = this.#context(action, policy, facts);
    if (context === null) {
      const isTrusted = this.#owner.trustFor("write", policy) >= 3;
      return { ok: false, code: isTrusted ? "federation/unknown-action" : "federation/untrusted" };
    }
    const known = this.#book.find("received", requestId);
    const arrival = receiveRequest(
      known && { state: stateOf(known), contentsHash: known.contentsHash },
      request.contentsHash,
      context,
    );
    if (arrival.type === "stopped" || arrival.type === "reused") return { ok: false, ...refusal(arrival) };
    const { status, expiresAtMs, receivedAtMs } = arrival.state;
    if (arrival.type === "repeated") return { ok: true, status, expiresAtMs };
    const read = isKnownAction(action) ? readParams(action, request.params) : null;
    if (!read?.ok) return { ok: false, code: "http/invalid-body", param: read?.param };
    const record: RequestRecord = {
      direction: "received",
      requestId,
      action,
      // As the peer sent them: the admin's signature covers these.
      params: request.params,
      status,
      createdAtMs: receivedAtMs,
      expiresAtMs,
      decidedAtMs: null,
      admin: null,
      error: null,
      email: request.email,
      note: null,
      signature,
      contentsHash: request.contentsHash,
      result: null,
      callback: null,
      tries: 0,
    };
    this.#book.save(record);
    const { peer } = this.#book;
    const waiting = status === "blocked" ? "blocked" : "pending";
    this.#owner.requestWaits({ peer, requestId, action, status: waiting, receivedAtMs, expiresAtMs });
    const event = { action, params: record.params as never, email_hash: request.email?.hash ?? null };
    this.#store.events.put(
      draft("request_received", {
        ...this.#book.named(requestId),
        ...event,
        key_id: signature?.key_id ?? null,
        status: waiting,
      }),
    );
    return { ok: true, status, expiresAtMs };
  }

  /** What the guards look at. Null: this pool does not know the action. */
  #context(
    action: string,
    policy: FederationPolicy,
    facts: Pick<
      GuardContext,
      "nowMs" | "adminSignature" | "adminSignatureExpiresAt" | "signatureVersion" | "openSlashings"
    >,
  ): GuardContext | null {
    if (!isKnownAction(action)) return null;
    const { kind, ...traits } = traitsOf(action);
    const { count: pending, firstExpiryMs } = this.#book.rows.open("received");
    return {
      ...facts,
      ...traits,
      kind,
      isSigned: true,
      policy,
      // A write in version 1 is refused at step 3, with the words that fit: one-sided trust suffices to hear them.
      trust: this.#owner.trustFor(facts.signatureVersion === 1 ? "read" : kind, policy),
      pending,
      firstExpiryMs,
      approvedWriteAtMs: this.#store.get("approvedWriteAtMs") ?? null,
    };
  }

  /** Call inside a transaction. */
  #decided(
    record: RequestRecord,
    decision: "approved" | "rejected" | "expired",
    admin: ActingAdmin | null,
    overridden: OpenSlashing[] | null,
    nowMs: number,
  ): RequestRecord {
    const decided = { ...record, status: decision, decidedAtMs: nowMs, admin: admin?.name ?? null };
    this.#book.save(decided);
    this.#store.events.put(
      draft("request_decided", {
        ...this.#book.named(record.requestId),
        decision,
        by: admin?.tokenId ?? null,
        note_hash: record.note?.hash ?? null,
        overridden,
      }),
    );
    return decided;
  }
}

function refusal({ code, retryAfterSeconds }: { code: ErrorCode; retryAfterSeconds?: number | undefined }) {
  return { code, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) };
}
