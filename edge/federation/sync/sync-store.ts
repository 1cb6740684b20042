import type { PeerAudience } from "../../../schema/wire/events.ts";
import type { EventOutbox } from "../../record/event-outbox.ts";
import type { RecordOutbox } from "../../record/record-outbox.ts";
import type { Unfollowable } from "./follow-refusal-rules.ts";
import { type Followed, NOTHING_FOLLOWED } from "./followed-log-rules.ts";
import { NOTHING_SENT, type Sent } from "./push-rules.ts";

/** Persisted contract: the values of event sync in the peer's `Bond`, by key. */
export type SyncValues = Record<`followed:${PeerAudience}`, Followed> &
  Record<`unfollowable:${PeerAudience}`, Unfollowable> &
  Record<`sent:${PeerAudience}`, Sent>;

/** The storage of the peer's `Bond`, as sync uses it. */
export interface SyncStorage {
  get<Key extends keyof SyncValues>(key: Key): SyncValues[Key] | undefined;
  put<Key extends keyof SyncValues>(key: Key, value: SyncValues[Key]): void;
  delete(key: keyof SyncValues): void;
  /** Stores all of `write`, or nothing. Both outboxes are flushed afterwards. */
  transaction<T>(write: () => T): T;
  /** Drafts for `EventLog`. */
  readonly events: Pick<EventOutbox, "put">;
  /** Rows for D1. */
  readonly records: Pick<RecordOutbox, "put">;
}

/** The cursors of sync with one peer. */
export class SyncStore {
  readonly #storage: Pick<SyncStorage, "get" | "put" | "delete">;

  constructor(storage: Pick<SyncStorage, "get" | "put" | "delete">) {
    this.#storage = storage;
  }

  /** How far we have the peer's log. */
  followed(audience: PeerAudience): Followed {
    return this.#storage.get(`followed:${audience}`) ?? NOTHING_FOLLOWED;
  }

  saveFollowed(audience: PeerAudience, followed: Followed): void {
    this.#storage.put(`followed:${audience}`, followed);
  }

  /** Null while the peer's log can be followed. */
  unfollowable(audience: PeerAudience): Unfollowable | null {
    return this.#storage.get(`unfollowable:${audience}`) ?? null;
  }

  saveUnfollowable(audience: PeerAudience, unfollowable: Unfollowable | null): void {
    if (unfollowable === null) this.#storage.delete(`unfollowable:${audience}`);
    else this.#storage.put(`unfollowable:${audience}`, unfollowable);
  }

  /** How far the peer has our log. */
  sent(audience: PeerAudience): Sent {
    return this.#storage.get(`sent:${audience}`) ?? NOTHING_SENT;
  }

  saveSent(audience: PeerAudience, sent: Sent): void {
    this.#storage.put(`sent:${audience}`, sent);
  }
}
