import { nodeIdOf, signEvent } from "../../schema/crypto/signed-event.ts";
import type { SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type PoolKeys, poolKeys } from "../identity/pool-keys.ts";
import type { StoredDraft } from "../record/stored-draft.ts";
import { type Clock, tick } from "./clock-rules.ts";
import type { AppendAnswer, AppendedEvent } from "./event-log-rpc.ts";
import type { LogClock } from "./log-clock.ts";
import type { LogStorage } from "./log-storage.ts";
import { audiencesOf, mayRelay } from "./visibility-rules.ts";

/** A call of `append` that waits for its commit. */
interface PendingAppend {
  drafts: StoredDraft[];
  resolve(answer: AppendAnswer): void;
  reject(error: unknown): void;
}

/** An event of this pool that is signed and not in the log yet. */
export interface SignedDraft {
  draft: StoredDraft;
  wire: SignedEvent;
  hlc: Clock;
}

type KeysEnv = Parameters<typeof poolKeys>[0];

/** Gives events of this pool their times, signs them, and commits them in groups. */
export class OwnEvents {
  readonly #env: KeysEnv;
  readonly #log: LogStorage;
  readonly #clock: LogClock;
  #pending: PendingAppend[] = [];
  #isWriting = false;

  constructor(env: KeysEnv, log: LogStorage, clock: LogClock) {
    this.#env = env;
    this.#log = log;
    this.#clock = clock;
  }

  /** Whether events are being signed now. */
  get isWriting(): boolean {
    return this.#isWriting;
  }

  /** `written` resolves once nothing is pending. */
  append(drafts: StoredDraft[]): { answer: Promise<AppendAnswer>; written: Promise<void> } {
    const pending = this.#pending.reduce((sum, each) => sum + each.drafts.length, drafts.length);
    if (pending > LIMITS.eventDrafts) throw new Error("too many events are pending for the log");
    const { promise: answer, resolve, reject } = Promise.withResolvers<AppendAnswer>();
    this.#pending.push({ drafts, resolve, reject });
    return { answer, written: this.#isWriting ? Promise.resolve() : this.#write() };
  }

  /** Call inside a commit. If the log knows the draft's key, returns the event that the draft became. */
  place({ draft, wire, hlc }: SignedDraft, { atomId: origin, signer }: PoolKeys): AppendedEvent {
    const known = draft.key === undefined ? null : this.#log.ledger.appendedUnder(draft.key);
    if (known !== null) return known;
    const kind = { visibility: draft.visibility, ours: true };
    const ttl = mayRelay(kind, LIMITS.eventTtl) ? LIMITS.eventTtl : 0;
    const places = this.#log.add({
      wire,
      body: {
        type: draft.type,
        origin,
        visibility: draft.visibility,
        hlc: { ...hlc, node_id: nodeIdOf(signer.publicKey) },
      },
      audiences: audiencesOf(kind, ttl),
      ttl,
      receivedFrom: null,
      takenAtMs: Date.now(),
    });
    const seq = places.all?.seq ?? 0;
    if (draft.key !== undefined) this.#log.ledger.remember(draft.key, seq);
    return { seq, content_id: wire.content_id, event: wire };
  }

  async #write(): Promise<void> {
    this.#isWriting = true;
    try {
      const keys = await poolKeys(this.#env);
      while (this.#pending.length > 0) {
        // Concurrent calls join this commit first: a commit of many events costs the disk as much as one of a single event.
        await scheduler.wait(0);
        const nowMs = Date.now();
        const refused = this.#clock.refusal(nowMs);
        if (refused !== null) {
          for (const each of this.#pending.splice(0)) each.resolve({ ok: false, code: refused });
          continue;
        }
        const group = this.#nextGroup();
        const signed = await Promise.allSettled(group.map(({ drafts }) => this.#sign(keys, drafts, nowMs)));
        this.#commitGroup(group, signed, keys);
      }
    } catch (error) {
      for (const each of this.#pending.splice(0)) each.reject(error);
    } finally {
      // Reset in the same turn as the last check of `#pending`, so that no call is left without a writer.
      this.#isWriting = false;
    }
  }

  /**
   * Takes the calls of one commit from the queue: at least one, and together at most `LIMITS.eventsPerCommit` events if
   * possible.
   */
  #nextGroup(): PendingAppend[] {
    let events = 0;
    const beyond = this.#pending.findIndex(({ drafts }, i) => {
      events += drafts.length;
      return i > 0 && events > LIMITS.eventsPerCommit;
    });
    return this.#pending.splice(0, beyond === -1 ? this.#pending.length : beyond);
  }

  /** The clock ticks for each draft before the first await, so that times have the order of the log. */
  #sign({ signer }: PoolKeys, drafts: StoredDraft[], nowMs: number): Promise<SignedDraft[]> {
    const timed = drafts.map((draft) => {
      this.#log.clock = tick(this.#log.clock, nowMs * 1_000);
      return { draft, hlc: this.#log.clock };
    });
    return Promise.all(
      timed.map(async ({ draft, hlc }) => ({ draft, hlc, wire: await signEvent(signer, { ...draft, hlc }) })),
    );
  }

  /** A call whose drafts could not be signed fails alone. */
  #commitGroup(group: PendingAppend[], signed: PromiseSettledResult<SignedDraft[]>[], keys: PoolKeys): void {
    let appended: (AppendedEvent[] | null)[];
    try {
      appended = this.#log.commit(() =>
        signed.map((each) => (each.status === "fulfilled" ? each.value.map((one) => this.place(one, keys)) : null)),
      );
    } catch (error) {
      for (const each of group) each.reject(error);
      return;
    }
    for (const [i, call] of group.entries()) {
      const outcome = signed[i];
      if (outcome?.status === "rejected") call.reject(outcome.reason);
      else call.resolve({ ok: true, appended: appended[i] ?? [] });
    }
  }
}
