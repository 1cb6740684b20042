import { type PeerAudience, peerAudience } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { eventLogForBonds } from "../../events/event-log-for.ts";
import { checkFederation } from "../../pool/federation-check.ts";
import type { PeerChannel } from "../delivery/peer-channel.ts";
import type { OpenStreams } from "./open-streams.ts";
import { checkOutgoing } from "./outgoing-events.ts";
import { afterPush, nextPush, sentForLog } from "./push-rules.ts";
import { type SyncOwner, viewerOf } from "./sync-owner.ts";
import type { SyncStore } from "./sync-store.ts";
import { mayFollow } from "./sync-trust-rules.ts";
import { unlessUnavailable } from "./unavailable.ts";

/** Pushes events of our log to a peer that has no stream of it open. The rules are in `push-rules.ts`. */
export class EventPusher {
  readonly #ctx: DurableObjectState;
  readonly #env: Env;
  readonly #channel: PeerChannel;
  readonly #owner: SyncOwner;
  readonly #store: SyncStore;
  readonly #streams: Pick<OpenStreams, "isStreaming">;
  readonly #running = new Map<PeerAudience, Promise<void>>();

  constructor(
    ctx: DurableObjectState,
    env: Env,
    channel: PeerChannel,
    owner: SyncOwner,
    store: SyncStore,
    streams: Pick<OpenStreams, "isStreaming">,
  ) {
    this.#ctx = ctx;
    this.#env = env;
    this.#channel = channel;
    this.#owner = owner;
    this.#store = store;
    this.#streams = streams;
  }

  /** Starts a push of each audience, unless one is running. */
  push(): void {
    for (const audience of peerAudience.options) {
      if (this.#running.has(audience)) continue;
      const running = this.#run(audience).finally(() => this.#running.delete(audience));
      this.#running.set(audience, running);
      this.#ctx.waitUntil(running);
    }
  }

  /** Whether a push has failed or was deferred, and none has succeeded since. */
  isWaiting(): boolean {
    return peerAudience.options.some((audience) => {
      const { tries, deferrals } = this.#store.sent(audience).delivery;
      return tries + deferrals > 0;
    });
  }

  /** Pushes immediately, without waiting for the end of a backoff. Call it when the peer is available again. */
  retryNow(): void {
    const nowMs = Date.now();
    for (const audience of peerAudience.options) {
      const sent = this.#store.sent(audience);
      if (sent.delivery.nextAtMs <= nowMs) continue;
      this.#store.saveSent(audience, { ...sent, delivery: { ...sent.delivery, nextAtMs: nowMs } });
    }
    this.push();
  }

  async #run(audience: PeerAudience): Promise<void> {
    try {
      // When our log or D1 is unavailable, the next alarm or the next event starts a push again.
      while ((await unlessUnavailable(() => this.#pushOnce(audience))) === true);
    } catch (error) {
      const cause = error instanceof Error ? error.stack : String(error);
      console.error(JSON.stringify({ event: "push-bug", audience, cause }));
    }
  }

  /** True: more events may be pushed now. */
  async #pushOnce(audience: PeerAudience): Promise<boolean> {
    const log = eventLogForBonds(this.#env);
    const checked = await checkFederation(this.#env);
    const peer = this.#owner.peer();
    if (!checked.open || peer === null || !mayFollow(audience, this.#owner.trust(), checked.policy)) return false;
    const { log_id } = await log.heads();
    const page = await log.read(audience, sentForLog(this.#store.sent(audience), log_id).seq, LIMITS.eventsPerPull);
    const streaming = this.#streams.isStreaming(audience);
    const next = nextPush(this.#store.sent(audience), page, { publicKey: peer.publicKey, streaming }, Date.now());
    if (next.type === "skipped") {
      this.#store.saveSent(audience, next.sent);
      return true;
    }
    if (next.type === "wait") await this.#owner.armBy(next.untilMs);
    if (next.type !== "push") return false;
    const body = checkOutgoing(next.push.body, viewerOf(this.#owner), await this.#owner.self());
    const { tried, answer } = await this.#channel.try({ kind: "event push", body });
    if (tried.type === "later") {
      await this.#owner.armBy(tried.atMs);
      return false;
    }
    const sent = afterPush(this.#store.sent(audience), next.push, answer, tried.outcome, Date.now(), Math.random());
    this.#store.saveSent(audience, sent);
    if (sent.delivery.nextAtMs <= Date.now()) return true;
    await this.#owner.armBy(sent.delivery.nextAtMs);
    return false;
  }
}
