import { draft } from "../../../schema/wire/event-registry.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { inTime } from "../../limits/timeout.ts";
import type { BondStore } from "../bond-store.ts";
import type { DeliveryQueue } from "../delivery/delivery-queue.ts";
import type { ActionResult } from "./action.ts";
import { runAction } from "./actions.ts";
import { callbackFor } from "./callback-rules.ts";
import { step } from "./received-request-machine.ts";
import type { RequestBook } from "./request-book.ts";
import { type RequestRecord, stateOf } from "./request-rows.ts";

interface Owner {
  deliveries(): DeliveryQueue;
  signatureVersion(): 1 | 2;
  /** Sends what waits for the peer, now. */
  deliver(): void;
}

/** Runs the actions of requests that our admin approved, and queues their results for the peer. */
export class ApprovedActions {
  readonly #env: Env;
  readonly #store: BondStore;
  readonly #book: RequestBook;
  readonly #owner: Owner;
  /** The actions that run now, by request id. */
  readonly #running = new Map<string, Promise<void>>();

  constructor(env: Env, store: BondStore, book: RequestBook, owner: Owner) {
    this.#env = env;
    this.#store = store;
    this.#book = book;
    this.#owner = owner;
  }

  /** Runs the approved actions that have not answered. Resolves when each has answered or failed. */
  async runAll(): Promise<void> {
    await Promise.all(this.#book.rows.approved().map(({ requestId }) => this.#runOnce(requestId)));
  }

  /** Call inside a transaction. Stores the record, and queues the callback for the peer. */
  callBack(record: RequestRecord, atomId: string): void {
    this.#book.save({ ...record, callback: "waiting" });
    const body = callbackFor(record, atomId, this.#owner.signatureVersion());
    this.#owner.deliveries().put({ kind: "callback", body }, Date.now());
  }

  /** Two calls at the same time share one run. The handler itself makes a repeat after a crash harmless. */
  #runOnce(requestId: string): Promise<void> {
    const running = this.#running.get(requestId) ?? this.#run(requestId).finally(() => this.#running.delete(requestId));
    this.#running.set(requestId, running);
    return running;
  }

  async #run(requestId: string): Promise<void> {
    const record = this.#book.find("received", requestId);
    const { peer } = this.#book;
    if (record?.status !== "approved") return;
    const request = { peer, requestId, given: record.params };
    // An action that does not answer must not stop the alarm. It may still end; then its repeat finds what it did.
    const result = await inTime(LIMITS.actionMs, runAction(this.#env, record.action, request), "the action").catch(
      failedRun,
    );
    const { atomId } = await poolKeys(this.#env);
    this.#store.transaction(() => this.#ran(requestId, result, atomId));
    this.#owner.deliver();
  }

  /** Call inside a transaction. */
  #ran(requestId: string, result: ActionResult | null, atomId: string): void {
    const record = this.#book.find("received", requestId);
    if (record === null) return;
    const tries = record.tries + 1;
    if (result === null && tries < LIMITS.actionTries) {
      this.#book.save({ ...record, tries });
      return;
    }
    const isDone = result?.ok === true;
    const next = step(stateOf(record), { type: "ran", isDone }, Date.now());
    if (!next.ok || next.next !== "call-back") return;
    const error = result === null ? "The action failed repeatedly." : result.ok ? null : result.error;
    const ran = {
      ...record,
      tries,
      status: next.state.status,
      result: isDone ? JSON.stringify(result.result) : null,
      error,
    };
    this.#store.events.put(
      draft("request_executed", { ...this.#book.named(requestId), outcome: isDone ? "executed" : "failed" }),
    );
    this.callBack(ran, atomId);
  }
}

/** The object that the action called did not answer, or the handler has a bug. The alarm tries again. */
function failedRun(error: unknown): null {
  const cause = error instanceof Error ? error.stack : String(error);
  console.error(JSON.stringify({ event: "action-failed", cause }));
  return null;
}
