import type { PeerAudience } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { eventLogForBonds } from "../../events/event-log-for.ts";
import { mayRead } from "../../events/visibility-rules.ts";
import { recheckFederation } from "../../pool/federation-check.ts";
import { type TrustPolicy, trustInEffect } from "../peering/trust-rules.ts";
import { checkOutgoing } from "./outgoing-events.ts";
import { pageCostUs, sizeOf } from "./peer-work-rate-rules.ts";
import { acknowledge } from "./push-rules.ts";
import { ServedStream } from "./served-stream.ts";
import { ANY_TIER, type SyncOwner, viewerOf } from "./sync-owner.ts";
import type { SyncStore } from "./sync-store.ts";

/** Opens, tracks and ends the streams of our log that one peer reads: at most one for each audience. */
export class OpenStreams {
  readonly #ctx: DurableObjectState;
  readonly #env: Env;
  readonly #owner: SyncOwner;
  readonly #store: SyncStore;
  readonly #open = new Map<PeerAudience, ServedStream>();
  /**
   * Epoch ms until which the peer counts as streaming after a stream has ended, because it usually opens the next one
   * soon.
   */
  readonly #countsUntilMs: Record<PeerAudience, number> = { public: 0, peers: 0 };

  constructor(ctx: DurableObjectState, env: Env, owner: SyncOwner, store: SyncStore) {
    this.#ctx = ctx;
    this.#env = env;
    this.#owner = owner;
    this.#store = store;
  }

  /** The last number that the open stream has written; null without a stream. */
  writtenSeq(audience: PeerAudience): number | null {
    return this.#open.get(audience)?.at ?? null;
  }

  /** Whether the peer reads a stream, or did a moment ago. Then it needs no pushes. */
  isStreaming(audience: PeerAudience): boolean {
    return this.#open.has(audience) || Date.now() < this.#countsUntilMs[audience];
  }

  /** Opens a stream of the events after `since`. It ends the peer's earlier stream of this audience. */
  serve(audience: PeerAudience, since: number): ReadableStream<Uint8Array> {
    this.#open.get(audience)?.end();
    const log = eventLogForBonds(this.#env);
    // A peer that asks for the events after `since` has all earlier ones.
    const logId = log.heads().then(({ log_id, [audience]: head }) => {
      this.acknowledge(audience, { logId: log_id, head }, since);
      return log_id;
    });
    logId.catch(() => {});
    const stream = new ServedStream(
      {
        changed: (after, waitMs) => log.changed(audience, after, waitMs),
        page: async (after) => {
          await scheduler.wait(this.#owner.workWaitMs());
          const page = await log.read(audience, after, LIMITS.eventsPerPull);
          const checked = checkOutgoing(page, viewerOf(this.#owner), await this.#owner.self());
          this.#owner.chargeWork(pageCostUs(sizeOf(checked.events)));
          return checked;
        },
        mayContinue: async () => {
          const checked = await recheckFederation(this.#env);
          return checked.open && checked.policy.accept_reads && this.#mayRead(audience, checked.policy);
        },
      },
      audience,
      since,
    );
    this.#open.set(audience, stream);
    const ran = stream.run();
    this.#ctx.waitUntil(
      ran.finally(() => {
        if (this.#open.get(audience) !== stream) return;
        this.#open.delete(audience);
        this.#countsUntilMs[audience] = Date.now() + LIMITS.pushAfterStreamMs;
      }),
    );
    const saveWritten = async () => this.#saveWritten(audience, await logId, stream.at);
    this.#ctx.waitUntil(ran.then(saveWritten, saveWritten).catch(() => {}));
    return stream.readable;
  }

  /** Records that the peer has every event of our log up to `since`. */
  acknowledge(audience: PeerAudience, log: { logId: string; head: number }, since: number): void {
    if (this.#owner.trust() === null) return;
    const before = this.#store.sent(audience);
    const sent = acknowledge(before, log, since, Date.now());
    // Skip the write if nothing has changed: a peer that polls repeats the same `since`.
    if (sent !== before) this.#store.saveSent(audience, sent);
  }

  /** Ends the streams that the peer's trust no longer allows (docs/spec/federation.md#trust). */
  endForbidden(): void {
    for (const [audience, stream] of this.#open) if (!this.#mayRead(audience, ANY_TIER)) stream.end();
  }

  #saveWritten(audience: PeerAudience, logId: string, seq: number): void {
    const sent = this.#store.sent(audience);
    if (this.#owner.trust() === null || sent.logId !== logId) return;
    if (seq > (sent.written ?? 0)) this.#store.saveSent(audience, { ...sent, written: seq });
  }

  #mayRead(audience: PeerAudience, policy: Pick<TrustPolicy, "min_auth_tier">): boolean {
    return mayRead(audience, trustInEffect(this.#owner.trust(), policy));
  }
}
