import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import { eventLogForBonds } from "../events/event-log-for.ts";
import { DueTimes } from "../limits/due-times.ts";
import { within } from "../limits/timeout.ts";
import type { BondStore } from "./bond-store.ts";
import type { DeliveryQueue } from "./delivery/delivery-queue.ts";
import type { Liveness } from "./delivery/liveness.ts";
import type { AdminRequests } from "./inbox/admin-requests.ts";
import type { Eviction } from "./peering/eviction.ts";
import type { Membership } from "./peering/membership.ts";
import type { ReceivedGrants } from "./peering/received-grants.ts";
import { trustInEffect } from "./peering/trust-rules.ts";
import type { Admissions } from "./signing/admissions.ts";
import type { PeerSync } from "./sync/peer-sync.ts";
import { ANY_TIER } from "./sync/sync-owner.ts";

/** Nonces are kept for minutes, so that deleting them can wait. */
const PURGE_MS = 60_000;

interface Parts {
  readonly membership: Membership;
  readonly receivedGrants: ReceivedGrants;
  readonly liveness: Liveness;
  readonly sync: PeerSync;
  readonly eviction: Eviction;
  admissions(): Admissions;
  deliveries(): DeliveryQueue;
  requests(): AdminRequests;
}

/**
 * What follows each commit of one `Bond`, and the object's alarm. A flush sends to the registry, the event log, D1 and
 * the peer what the object has stored for them. The alarm repeats a flush that failed, or that a crash prevented.
 */
export class BondFlush {
  readonly #ctx: DurableObjectState;
  readonly #env: Env;
  readonly #store: BondStore;
  readonly #parts: () => Parts;
  readonly #due: DueTimes;
  /** The last flush after a commit, and the value of `BondStore.commits` when it began. */
  #flushed: { commits: number; done: Promise<void> } | null = null;
  /** The flush that follows commits which may wait a moment. */
  #soon: ReturnType<typeof setTimeout> | null = null;
  /** Epoch ms by which the alarm deletes expired nonces. */
  #purgeAtMs = 0;
  /** Whether the last purge deleted all nonces that had expired. */
  #isPurged = true;

  constructor(ctx: DurableObjectState, env: Env, store: BondStore, parts: () => Parts) {
    this.#ctx = ctx;
    this.#env = env;
    this.#store = store;
    this.#parts = parts;
    this.#due = new DueTimes(ctx.storage, {
      // A message that is due now is already being tried, so an immediate alarm would find nothing else to do.
      deliveries: (nowMs) => notBefore(nowMs + LIMITS.outboxRetryMinMs, parts().deliveries().dueAtMs()),
      requests: (nowMs) => notBefore(nowMs + LIMITS.outboxRetryMinMs, parts().requests().dueAtMs(nowMs)),
      records: (nowMs) => store.records.dueAtMs(nowMs),
      events: (nowMs) => store.events.dueAtMs(nowMs),
      liveness: (nowMs) => (this.#isAccepted() ? nowMs + LIMITS.peerVerifyMs : null),
      nonces: (nowMs) => {
        if (!parts().admissions().holdsNonces()) return null;
        return nowMs + (this.#isPurged ? PURGE_MS : LIMITS.outboxRetryMinMs);
      },
    });
  }

  /** Call it after each transaction, in the same turn: the alarm is then part of the commit, and a crash loses nothing. */
  committed(when: "now" | "soon"): void {
    // A flush that is about to follow needs no alarm, except after a crash: an alarm does much more than this flush.
    this.#ctx.waitUntil(when === "soon" ? this.armBy(Date.now() + LIMITS.requestsAlarmMs) : this.retryLater());
    if (when === "soon") {
      this.#soon ??= setTimeout(() => this.#ctx.waitUntil(this.#flushOutboxes()), LIMITS.requestsFlushMs);
      return;
    }
    const flushed = { commits: this.#store.commits, done: this.flush() };
    this.#flushed = flushed;
    this.#ctx.waitUntil(flushed.done);
  }

  /** Resolves after one try to send what all transactions so far have put into the outboxes. */
  pending(): Promise<void> {
    return this.#flushed?.commits === this.#store.commits ? this.#flushed.done : this.flush();
  }

  /** As `pending`, but waits at most `LIMITS.recordWaitMs`, because an admin waits for the answer. */
  async soon(): Promise<void> {
    await within(LIMITS.recordWaitMs, this.pending());
  }

  /** One try to send what is stored. The alarm repeats what fails now. */
  async flush(): Promise<void> {
    if (this.#soon !== null) clearTimeout(this.#soon);
    this.#soon = null;
    const { eviction, receivedGrants, membership, deliveries, requests, sync } = this.#parts();
    if (this.#store.trust === null || eviction.isPending) return;
    const steps = [
      () => this.#subscribeToLog(),
      () => receivedGrants.flush(),
      () => this.#store.flushEvents(),
      () => this.#store.records.flush(),
      () => requests().flush(),
    ];
    const done: PromiseSettledResult<unknown>[] = await Promise.allSettled(steps.map((step) => step()));
    // Last, because the reported status counts what the other steps could not send.
    done.push(...(await Promise.allSettled([membership.note()])));
    // The peer may have been forgotten meanwhile.
    if (this.#store.trust === null) return;
    const isDone = done.every((each) => each.status === "fulfilled" && each.value !== false);
    if (!isDone) await this.retryLater();
    if (deliveries().dueAtMs() !== null) this.#ctx.waitUntil(this.deliver());
    const requestsDueAtMs = requests().dueAtMs(Date.now());
    if (requestsDueAtMs !== null) await this.armBy(requestsDueAtMs);
    if (this.#isAccepted()) await this.armBy(Date.now() + LIMITS.peerVerifyMs);
    sync.follow();
  }

  /** The part of a flush that received requests need: nothing else about the peer has changed. */
  async #flushOutboxes(): Promise<void> {
    this.#soon = null;
    const { eviction, requests } = this.#parts();
    if (this.#store.trust === null || eviction.isPending) return;
    const outboxes = [this.#store.flushEvents(), this.#store.records.flush(), requests().flush()];
    const sent = await Promise.allSettled(outboxes);
    // The peer may have been forgotten meanwhile.
    if (this.#store.trust === null) return;
    if (!sent.every((each) => each.status === "fulfilled" && each.value)) await this.retryLater();
    const dueAtMs = requests().dueAtMs(Date.now());
    if (dueAtMs !== null) await this.armBy(dueAtMs);
  }

  /** The object's alarm. */
  async alarm(): Promise<void> {
    this.#due.fired();
    if (this.#store.trust === null) return;
    const { eviction, admissions, requests, sync, liveness } = this.#parts();
    if (eviction.isPending) return eviction.finish();
    const nowMs = Date.now();
    this.#isPurged = !admissions().purge(nowMs);
    await requests().work(nowMs);
    await this.flush();
    // The peer may have been forgotten meanwhile.
    if (this.#store.trust === null) return;
    sync.follow();
    sync.push();
    if (this.#isAccepted()) liveness.verifySeldom(nowMs);
    await this.#due.arm(nowMs);
  }

  /** Arms the alarm no later than `atMs`. */
  armBy(atMs: number): Promise<void> {
    return this.#due.by(atMs);
  }

  /** Arms the alarm for another try. */
  retryLater(): Promise<void> {
    return this.armBy(Date.now() + LIMITS.outboxRetryMinMs);
  }

  /** Arms the alarm for the nonce of a request that was just admitted. */
  armPurge(nowMs: number): void {
    const isArmed = nowMs <= this.#purgeAtMs && this.#purgeAtMs - nowMs <= PURGE_MS;
    if (isArmed) return;
    this.#purgeAtMs = nowMs + PURGE_MS;
    this.#ctx.waitUntil(this.armBy(this.#purgeAtMs));
  }

  /** Reads from storage when the alarm is armed. The runtime drops an alarm that failed too often. */
  reread(): void {
    this.#due.reread();
  }

  /** Call it before the storage is emptied. */
  clear(): Promise<void> {
    this.#purgeAtMs = 0;
    return this.#due.clear();
  }

  /** Asks the log to notify this object of new events, or no longer to do so. */
  async #subscribeToLog(): Promise<void> {
    const { peer } = this.#store;
    if (peer === null) return;
    await eventLogForBonds(this.#env).subscribe(peer.atomId, this.#isAccepted());
  }

  /** Tries the messages that are due, without waiting for the rest of a flush. */
  async deliver(): Promise<void> {
    const { deliveries, membership } = this.#parts();
    await deliveries().run();
    // The peer may have been forgotten meanwhile.
    if (this.#store.trust === null) return;
    const dueAtMs = deliveries().dueAtMs();
    if (dueAtMs !== null) await this.armBy(dueAtMs);
    await membership.note();
  }

  /** Whether trust 2 is in effect. Then this pool follows the peer's log, and the peer may follow this pool's log. */
  #isAccepted(): boolean {
    return trustInEffect(this.#store.trust, ANY_TIER) >= 2;
  }
}

function notBefore(earliestMs: number, atMs: number | null): number | null {
  return atMs === null ? null : Math.max(earliestMs, atMs);
}
