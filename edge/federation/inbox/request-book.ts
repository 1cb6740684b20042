import type { RequestDirection } from "../../../schema/wire/admin-requests.ts";
import type { BondStore } from "../bond-store.ts";
import { type RequestRecord, type RequestRows, rowOf } from "./request-rows.ts";

/** The requests of one peer, in both directions: each change is stored here and, in the same transaction, put out for D1. */
export class RequestBook {
  readonly rows: RequestRows;
  readonly #store: BondStore;

  constructor(rows: RequestRows, store: BondStore) {
    this.rows = rows;
    this.#store = store;
  }

  /** The peer's atom id. Only a peer has requests. */
  get peer(): string {
    return this.#store.peer?.atomId ?? "";
  }

  find(direction: RequestDirection, requestId: string): RequestRecord | null {
    return this.rows.find(direction, requestId);
  }

  /** Call inside a transaction. */
  save(record: RequestRecord): void {
    this.rows.put(record);
    this.#store.records.put("admin_requests", rowOf(this.peer, record));
  }

  /** The members of an event that name the request. */
  named(requestId: string): { peer: string; request_id: string } {
    return { peer: this.peer, request_id: requestId };
  }
}
