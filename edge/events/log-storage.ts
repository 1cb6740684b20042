import { hash } from "node:crypto";
import { toHex } from "../../schema/crypto/bytes.ts";
import type { Audience, EventBody, SignedEvent } from "../../schema/wire/events.ts";
import type { RecordOutbox } from "../record/record-outbox.ts";
import type { Clock } from "./clock-rules.ts";
import type { EventLedger } from "./event-ledger.ts";
import type { LogCounts } from "./event-log-rpc.ts";
import { append, type LogState, newLog, type Placed } from "./log-machine.ts";

/** An event to append. `add` gives it its numbers. */
export interface NewEntry {
  wire: SignedEvent;
  body: Pick<EventBody, "type" | "origin" | "visibility" | "hlc">;
  audiences: Audience[];
  ttl: number;
  /** Atom id; null for an event of this pool. */
  receivedFrom: string | null;
  takenAtMs: number;
}

/** Called after a commit that changed the log, in the same turn. */
type OnCommit = (before: LogState, after: LogState) => void;

/**
 * The state of the log and its commits. A commit is one transaction: events, their rows for D1, the clock and the heads, or
 * none of them.
 */
export class LogStorage {
  readonly ledger: EventLedger;
  readonly counts: LogCounts = { appended: 0, received: 0, relayed: 0 };
  readonly #storage: DurableObjectStorage;
  readonly #records: RecordOutbox;
  readonly #onCommit: OnCommit;
  #state: LogState;
  /**
   * While events of this pool are being signed, this is later than the clock of the state, because those events already
   * have their times.
   */
  clock: Clock;

  constructor(storage: DurableObjectStorage, ledger: EventLedger, records: RecordOutbox, onCommit: OnCommit) {
    this.ledger = ledger;
    this.#storage = storage;
    this.#records = records;
    this.#onCommit = onCommit;
    const stored = ledger.state();
    this.#state = stored ?? newLog(randomLogId());
    this.clock = this.#state.clock;
    if (stored === null) ledger.save(this.#state);
  }

  get state(): LogState {
    return this.#state;
  }

  /** A throw inside `change` leaves the log as it was. */
  commit<T>(change: () => T): T {
    const before = this.#state;
    let result: T;
    try {
      result = this.#storage.transactionSync(() => {
        const made = change();
        this.#state = { ...this.#state, clock: this.clock };
        this.ledger.save(this.#state);
        return made;
      });
    } catch (error) {
      this.#state = before;
      throw error;
    }
    if (this.#state.heads.all.seq > before.heads.all.seq) this.#onCommit(before, this.#state);
    return result;
  }

  /** Call inside `commit`: replaces the state, for a log that starts under a new name or has a confirmed wall clock. */
  replace(state: LogState): void {
    this.#state = state;
  }

  /** Call inside `commit`: appends one event to each of its audiences. */
  add({ wire, body, audiences, ttl, receivedFrom, takenAtMs }: NewEntry): Placed["places"] {
    const event = { contentId: wire.content_id, audiences, clock: this.clock };
    const { state, places } = append(this.#state, event, sha256);
    this.#state = state;
    this.counts[receivedFrom === null ? "appended" : "received"] += 1;
    if (receivedFrom !== null && audiences.includes("public")) this.counts.relayed += 1;
    this.ledger.insert(wire, places, ttl);
    this.#records.put("events", {
      seq: places.all?.seq,
      contentId: wire.content_id,
      type: body.type,
      origin: body.origin,
      visibility: body.visibility,
      publicSeq: places.public?.seq ?? null,
      peersSeq: places.peers?.seq ?? null,
      chain: places.all?.chain ?? "",
      hlcPhysicalUs: body.hlc.physical_us,
      hlcLogical: body.hlc.logical,
      bytes: wire.event_bytes,
      pubkey: wire.origin_pubkey,
      signature: wire.signature,
      ttl,
      receivedFrom,
      takenAtMs,
    });
    return places;
  }
}

/** A new name for a log: 16 random bytes in hex. */
export function randomLogId(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(16)));
}

/** Node's own hash is synchronous; WebCrypto's is a promise and cannot be used inside a transaction. */
function sha256(bytes: Uint8Array): Uint8Array {
  return hash("sha256", bytes, "buffer");
}
