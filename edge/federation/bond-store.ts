import type { PeerRow } from "../../schema/db/peers.ts";
import type { SignedEvent } from "../../schema/wire/events.ts";
import type { Env } from "../env.ts";
import { EventOutbox, type OnAppended } from "../record/event-outbox.ts";
import { RecordOutbox } from "../record/record-outbox.ts";
import type { Unavailability } from "./delivery/availability-rules.ts";
import type { Circuit } from "./delivery/delivery-machine.ts";
import type { Unlogged } from "./peering/grant-rules.ts";
import type { PeerIdentity } from "./peering/peer-record-rules.ts";
import type { PeerTrust } from "./peering/trust-rules.ts";
import type { SyncStorage, SyncValues } from "./sync/sync-store.ts";

/** Persisted contract: the values that a `Bond` keeps, by their keys. `traffic` belongs to `Admissions`. */
export type BondValues = {
  identity: PeerIdentity;
  trust: PeerTrust;
  /** Name of the admin who decided last. */
  decidedBy: string | null;
  seenAtMs: number;
  /** The last grant that this pool signed for the peer. */
  lastGrant: SignedEvent;
  /** All tries to deliver that grant failed. */
  unheardGrant: boolean;
  /** Grants and a registration that are kept out of our log until an admin decides about the peer. */
  unlogged: Unlogged;
  /** When our admin last approved a write of the peer. It outlives the peer's removal, and so the cooldown does too. */
  approvedWriteAtMs: number;
  /** Whether the peer has sent a grant while it was below trust 2. */
  hasTriedGrant: boolean;
  /** Whether the peer's answers show that our clock is ahead of the peer's clock. */
  saysAhead: boolean;
  /** The peer was evicted, and its row is still to be deleted from D1. */
  leaving: boolean;
  /** The peer refuses all our requests: it granted us 0, or answered `verify` with 403. Absent while it does not. */
  hasRevokedUs: boolean;
  circuit: Circuit;
  /** Absent while the peer is available. */
  absence: Unavailability;
  /** Messages that were given up since this object was made. */
  givenUp: number;
} & SyncValues;

export interface BondStoreHooks {
  /** Called before the first transaction, to make the tables that other parts own. */
  opened(): void;
  /** Called in the transaction that deletes the draft, because the log has signed its event. */
  appended: OnAppended;
  /** The peer's row for D1; null while there is no peer. */
  row(): PeerRow | null;
  /** Called after each transaction, in the same turn. It arms the alarm, and sends what waits: now, or soon. */
  committed(when: "now" | "soon"): void;
}

/**
 * The storage of one `Bond`. All parts of the object read and write through it, so that one transaction covers what
 * they change together. An object that is no peer keeps an empty database (4 KiB; the tables make it 32 KiB).
 */
export class BondStore implements SyncStorage {
  readonly #storage: DurableObjectStorage;
  readonly #env: Env;
  readonly #hooks: BondStoreHooks;
  /** Values that were read from disk. A transaction that fails empties the cache. */
  readonly #cache = new Map<string, unknown>();
  #outboxes: { events: EventOutbox; records: RecordOutbox } | null = null;
  #isInTransaction = false;
  #isRowStale = false;
  #isErasing = false;
  #seenAtMs: number | null;
  /** How many transactions were committed since the object woke. */
  commits = 0;

  constructor(storage: DurableObjectStorage, env: Env, hooks: BondStoreHooks) {
    this.#storage = storage;
    this.#env = env;
    this.#hooks = hooks;
    this.#seenAtMs = this.get("seenAtMs") ?? null;
  }

  /** Null: there is no peer with this id. There never was one, or it was forgotten. */
  get trust(): PeerTrust | null {
    return this.get("trust") ?? null;
  }

  get peer(): PeerIdentity | null {
    return this.get("identity") ?? null;
  }

  /** Epoch ms of the peer's last request or proof. Stored with the next row: a crash may lose the newest time. */
  get seenAtMs(): number | null {
    return this.#seenAtMs;
  }

  set seenAtMs(atMs: number | null) {
    this.#seenAtMs = atMs;
  }

  /** Drafts for `EventLog`. */
  get events(): EventOutbox {
    return this.open().events;
  }

  /** Rows for D1. */
  get records(): RecordOutbox {
    return this.open().records;
  }

  get<Key extends keyof BondValues>(key: Key): BondValues[Key] | undefined {
    if (this.#isErasing) return undefined;
    if (!this.#cache.has(key)) this.#cache.set(key, this.#storage.kv.get(key));
    return this.#cache.get(key) as BondValues[Key] | undefined;
  }

  put<Key extends keyof BondValues>(key: Key, value: BondValues[Key]): void {
    if (this.#isErasing) return;
    this.#storage.kv.put(key, value);
    this.#cache.set(key, value);
  }

  delete(key: keyof BondValues): void {
    if (this.#isErasing) return;
    this.#storage.kv.delete(key);
    this.#cache.set(key, undefined);
  }

  /** Call inside a transaction. The same commit puts the peer's row into the outbox for D1. */
  putTrust(trust: PeerTrust): void {
    this.put("trust", trust);
    this.#isRowStale = true;
  }

  /** Call inside a transaction, when another part of the peer's row has changed. */
  recordPeer(): void {
    this.#isRowStale = true;
  }

  /**
   * Stores all of `write`, or nothing. Afterwards the outboxes send to other objects and to D1 what `write` put into
   * them. A nested call joins the outer transaction. `soon`: together with what is written in the next moment, because each
   * write to D1 costs the pool as much as many together.
   */
  transaction<T>(write: () => T, when: "now" | "soon" = "now"): T {
    if (this.#isInTransaction) return write();
    // Before the transaction begins: a rollback would undo the creation of the tables.
    this.open();
    const result = this.#write(write);
    this.commits += 1;
    this.#hooks.committed(when);
    return result;
  }

  /** Sends the drafts to the log. True: the log has all drafts that were put before the call. */
  async flushEvents(): Promise<boolean> {
    const isFlushed = await this.events.flush();
    // `appended` may have written in a transaction that was rolled back.
    if (!isFlushed) this.#cache.clear();
    return isFlushed;
  }

  /** Creates the tables that are missing, once. */
  open(): { events: EventOutbox; records: RecordOutbox } {
    if (this.#outboxes !== null) return this.#outboxes;
    const events = new EventOutbox(this.#storage, this.#env, "untold", (event, draft) =>
      this.#hooks.appended(event, draft),
    );
    this.#outboxes = { events, records: new RecordOutbox(this.#storage, this.#env.DB) };
    this.#hooks.opened();
    return this.#outboxes;
  }

  /**
   * Deletes everything. If the peer returns, it is a new peer. A part that was waiting for an answer writes nothing
   * meanwhile.
   */
  async erase(clearAlarm: () => Promise<void>): Promise<void> {
    this.#outboxes?.events.forget();
    this.#outboxes?.records.forget();
    this.#seenAtMs = null;
    this.#cache.clear();
    this.#isErasing = true;
    try {
      await clearAlarm();
      await this.#storage.deleteAll();
    } finally {
      this.#outboxes = null;
      this.#isErasing = false;
    }
  }

  #write<T>(write: () => T): T {
    this.#isInTransaction = true;
    try {
      return this.#storage.transactionSync(() => {
        const result = write();
        if (this.#isRowStale) this.#putRow();
        return result;
      });
    } catch (error) {
      this.#cache.clear();
      throw error;
    } finally {
      this.#isInTransaction = false;
      this.#isRowStale = false;
    }
  }

  #putRow(): void {
    if (this.#seenAtMs !== null) this.put("seenAtMs", this.#seenAtMs);
    const row = this.#hooks.row();
    // The row of an evicted peer is about to be deleted from D1. Writing it now would restore it.
    if (row !== null && this.get("leaving") !== true) this.records.put("peers", row);
  }
}
