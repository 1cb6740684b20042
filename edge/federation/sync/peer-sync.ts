import { type PeerAudience, peerAudience } from "../../../schema/wire/events.ts";
import type { Env } from "../../env.ts";
import type { PeerChannel } from "../delivery/peer-channel.ts";
import { EventPusher } from "./event-pusher.ts";
import { NOTHING_FOLLOWED } from "./followed-log-rules.ts";
import { Follower } from "./follower.ts";
import { OpenStreams } from "./open-streams.ts";
import { PeerLog } from "./peer-log.ts";
import { reportedSeq } from "./push-rules.ts";
import { ANY_TIER, type SyncOwner } from "./sync-owner.ts";
import { type SyncStorage, SyncStore } from "./sync-store.ts";
import { mayFollow } from "./sync-trust-rules.ts";
import type { SyncView } from "./sync-view.ts";

/**
 * Event sync with one peer (docs/spec/events.md#sync), in the peer's `Bond`: follows the peer's log, serves ours as streams,
 * and pushes to a peer that reads no stream.
 */
export class PeerSync {
  readonly #ctx: DurableObjectState;
  readonly #owner: SyncOwner;
  readonly #store: SyncStore;
  readonly #logs: Readonly<Record<PeerAudience, PeerLog>>;
  readonly #followers: Readonly<Record<PeerAudience, Follower>>;
  readonly #streams: OpenStreams;
  readonly #pusher: EventPusher;

  constructor(ctx: DurableObjectState, env: Env, channel: PeerChannel, owner: SyncOwner, storage: SyncStorage) {
    this.#ctx = ctx;
    this.#owner = owner;
    this.#store = new SyncStore(storage);
    const logOf = (audience: PeerAudience) => new PeerLog(audience, env, channel, owner, storage);
    this.#logs = { public: logOf("public"), peers: logOf("peers") };
    this.#followers = { public: new Follower(this.#logs.public), peers: new Follower(this.#logs.peers) };
    this.#streams = new OpenStreams(ctx, env, owner, this.#store);
    this.#pusher = new EventPusher(ctx, env, channel, owner, this.#store, this.#streams);
  }

  view(): SyncView[] {
    return peerAudience.options.map((audience) => {
      const { cursor, newest, equivocation } = this.#store.followed(audience);
      const sent = this.#store.sent(audience);
      const writtenSeq = this.#streams.writtenSeq(audience);
      return {
        audience,
        followed: {
          seq: cursor.seq,
          head: newest?.checkpoint.seq ?? null,
          streaming: this.#followers[audience].streaming,
          equivocated: equivocation !== null,
          unfollowable: this.#store.unfollowable(audience),
        },
        // The peer confirms what it read from a stream only with its next pull. Until then, count what the stream has
        // written.
        sent: {
          seq: reportedSeq(sent, writtenSeq ?? 0),
          streaming: writtenSeq !== null,
          rewoundSinceMs: sent.startedOver?.sinceMs ?? null,
        },
      };
    });
  }

  /**
   * Starts the followers of the audiences that both pools may read of each other. A follower that waits for the peer
   * tries again soon.
   */
  follow(): void {
    const unfollowed = this.#unfollowed();
    for (const audience of peerAudience.options) {
      if (unfollowed.includes(audience)) continue;
      const started = this.#followers[audience].start();
      if (started !== null) this.#ctx.waitUntil(started);
    }
  }

  /** Follows the peer's log again from its beginning, even after a proof of two histories. */
  resync(): void {
    for (const audience of peerAudience.options) {
      this.#logs[audience].save(NOTHING_FOLLOWED);
      this.#logs[audience].refused(null);
      this.#followers[audience].endStream();
    }
    this.follow();
  }

  /** How many known events of the peer's log are not here yet. */
  behind(): Record<PeerAudience, number> {
    const unfollowed = this.#unfollowed();
    const behind = this.view().map(({ audience, followed: { seq, head } }) => [
      audience,
      unfollowed.includes(audience) ? 0 : Math.max(0, (head ?? 0) - seq),
    ]);
    return Object.fromEntries(behind) as Record<PeerAudience, number>;
  }

  /** Records that the peer has every event of our log up to `since`. */
  acknowledge(audience: PeerAudience, log: { logId: string; head: number }, since: number): void {
    this.#streams.acknowledge(audience, log, since);
  }

  /** Opens a stream of our log for the peer. */
  serve(audience: PeerAudience, since: number): ReadableStream<Uint8Array> {
    return this.#streams.serve(audience, since);
  }

  /**
   * Call after each change of trust. Ends streams that are no longer allowed. For a log that is no longer followed,
   * clears the reason why it could not be followed.
   */
  endForbiddenStreams(): void {
    this.#streams.endForbidden();
    for (const audience of this.#unfollowed()) this.#logs[audience].refused(null);
  }

  push(): void {
    this.#pusher.push();
  }

  isWaiting(): boolean {
    return this.#pusher.isWaiting();
  }

  retryNow(): void {
    this.#pusher.retryNow();
  }

  /** The audiences that are not followed, because one of the two pools may not read them of the other. */
  #unfollowed(): PeerAudience[] {
    return peerAudience.options.filter((audience) => !mayFollow(audience, this.#owner.trust(), ANY_TIER));
  }
}
