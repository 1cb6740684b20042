import { hash } from "node:crypto";
import { createParser } from "eventsource-parser";
import { openCheckpoint } from "../../../schema/crypto/signed-event.ts";
import { type PeerAudience, type PulledEvent, pullAnswer, pulledEvent } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { PeerAnswer, PeerCall } from "../delivery/peer-client.ts";
import type { FollowRefusal } from "./follow-refusal-rules.ts";
import {
  advance,
  type Followed,
  type FollowStep,
  receivePage,
  receiveStreamed,
  type Source,
} from "./followed-log-rules.ts";
import type { IncomingResult } from "./incoming-rules.ts";

/** What a follower needs of its peer's `Bond`: one peer, one audience. */
export interface FollowedLog {
  readonly audience: PeerAudience;
  /** Null: we follow nothing of it now. Rejects where nobody could say, to be asked again. Asked before each page. */
  source(): Promise<Source | null>;
  /** The same for a stream that is open, asked every half second and of all that it brings: null ends it. */
  streamed(): Promise<Source | null>;
  read(): Followed;
  /** Durable when it returns. */
  save(followed: Followed): void;
  /** Why what the peer answered leads nowhere, however often it is asked; null: we are level with it. */
  refused(reason: FollowRefusal | null): void;
  call(call: PeerCall): Promise<PeerAnswer>;
  open(call: PeerCall, signal: AbortSignal): Promise<Response | null>;
  /** Whether our log has room for more of what the peer writes. */
  hasRoom(): Promise<boolean>;
  /** Null: none was looked at. More may come after `waitMs`. */
  take(events: readonly PulledEvent[]): Promise<{ arrivals: readonly IncomingResult[] | null; waitMs: number }>;
}

const SHORT_STREAM_MS = 5_000;

/** How a round ended, and so when the next one begins. */
type Round = "over" | "lost" | "stalled" | "sated" | "full" | "stopped";

/**
 * Follows one audience of one peer (docs/spec/events.md#sync): pulls until it is level, then reads its stream; on a drop it falls back
 * to pulling and comes back. The rules are in `sync-machine.ts`; here are time, the network and who waits.
 */
export class Follower {
  readonly #log: FollowedLog;
  #isRunning = false;
  #failures = 0;
  /** Started again while it ran: an answer of before that does not stop it. */
  #isWanted = false;
  /** After a round that ended because one side has had enough of the other's events for a while. */
  #satedMs = 0;
  /** Set while it waits for a peer that was away. */
  #wake: (() => void) | null = null;
  #stream: AbortController | null = null;
  /** Events since it last paused for breath. */
  #looked = 0;
  streaming = false;

  constructor(log: FollowedLog) {
    this.#log = log;
  }

  /** Starts it; null when it runs already: then one that waits for a peer which was away tries soon. */
  start(): Promise<void> | null {
    this.#wake?.();
    this.#isWanted = true;
    return this.#isRunning ? null : this.#run();
  }

  /** The cursor was set elsewhere, and an open stream would go on from where it was. */
  endStream(): void {
    this.#stream?.abort();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#isWanted) {
      this.#isWanted = false;
      const round = await this.#round().catch((): Round => "lost");
      if (round === "stopped") continue;
      // Whoever started it meanwhile may know of what this round could not: that the peer, or a switch, is back.
      const isHurried = this.#isWanted;
      this.#isWanted = true;
      if (round === "over") this.#failures = 0;
      else if (round === "lost") this.#failures += 1;
      if (round === "stalled" || round === "full") await paused(LIMITS.eventStallMs);
      else if (round === "sated") await paused(Math.min(this.#satedMs, LIMITS.followBackoffMaxMs));
      else await this.#wait(isHurried ? LIMITS.followBackoffMinMs : backoffMs(this.#failures));
    }
    this.#isRunning = false;
  }

  async #round(): Promise<Round> {
    const level = await this.#catchUp();
    return level === "over" ? this.#follow() : level;
  }

  async #catchUp(): Promise<Round> {
    for (let restarts = 0; ; ) {
      const source = await this.#log.source();
      if (source === null) return "stopped";
      if (!(await this.#log.hasRoom())) return this.#full();
      const since = this.#log.read().cursor.seq;
      const answer = await this.#log.call({
        method: "GET",
        target: `/api/federation/events?audience=${this.#log.audience}&since=${since}`,
        maxBytes: LIMITS.pullAnswerBytes,
      });
      if (answer.ok && answer.status === 429 && answer.retryAfterSeconds !== null) {
        // We have cost the peer as much as it allows: it is there, and says when to come again.
        this.#satedMs = Math.max(answer.retryAfterSeconds * 1_000, LIMITS.followBackoffMinMs);
        return "sated";
      }
      if (!answer.ok || answer.status !== 200) return "lost";
      const page = pullAnswer.safeParse(answer.body);
      if (!page.success || !(await openCheckpoint(page.data.checkpoint)).ok) return this.#refuse("malformed");
      const step = receivePage(this.#log.read(), source, page.data, sha256);
      this.#log.save(step.followed);
      if (!step.ok) {
        if (step.code === "equivocation") return "stopped";
        // From the cursor as it is now, once: whoever answers so again is not worth asking at once.
        if (restarts++ > 0) return this.#refuse(step.code);
        continue;
      }
      const taken = await this.#take(step, page.data.events);
      if (page.data.events.length > 0) this.#failures = 0;
      if (taken !== "taken") return taken;
      if (page.data.next >= page.data.head || page.data.events.length === 0) {
        this.#log.refused(null);
        return "over";
      }
    }
  }

  /** The cursor stays before what the log has no room for. The peer is asked again once our admin has made room. */
  #full(): "full" {
    this.#log.refused("quota-spent");
    return "full";
  }

  #refuse(reason: FollowRefusal): "lost" {
    this.#log.refused(reason);
    return "lost";
  }

  async #follow(): Promise<Round> {
    const since = this.#log.read().cursor.seq;
    const abort = new AbortController();
    this.#stream = abort;
    let silent = setTimeout(() => abort.abort(), LIMITS.streamSilenceMs);
    const checks = setInterval(() => void this.#check(abort), LIMITS.streamCheckMs);
    const over = setTimeout(() => abort.abort(), LIMITS.eventStreamMs + LIMITS.streamSilenceMs);
    try {
      const target = `/api/federation/stream?audience=${this.#log.audience}&since=${since}`;
      const response = await this.#log.open({ method: "GET", target }, abort.signal);
      if (response?.status !== 200 || !response.body) return "lost";
      this.streaming = true;
      const openedMs = Date.now();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const ready: unknown[] = [];
      let isTooLarge = false;
      const parser = createParser({
        maxBufferSize: LIMITS.streamEventChars,
        onEvent: ({ data }) => ready.push(parsed(data)),
        onError: ({ type }) => {
          isTooLarge ||= type === "max-buffer-size-exceeded";
        },
      });
      for (;;) {
        const { done, value } = await reader.read();
        // One that is closed at once, again and again, is not worth asking at once.
        if (done) return Date.now() - openedMs > SHORT_STREAM_MS ? "over" : "lost";
        clearTimeout(silent);
        silent = setTimeout(() => abort.abort(), LIMITS.streamSilenceMs);
        parser.feed(value);
        if (isTooLarge) return "lost";
        const arrived = ready.splice(0);
        const round = await this.#takeStreamed(arrived);
        if (round !== null) return round;
        if (arrived.length > 0) this.#failures = 0;
      }
    } catch {
      return "lost";
    } finally {
      this.streaming = false;
      this.#stream = null;
      clearTimeout(silent);
      clearTimeout(over);
      clearInterval(checks);
      abort.abort();
    }
  }

  /** Null: go on reading. */
  async #takeStreamed(data: readonly unknown[]): Promise<Round | null> {
    for (let i = 0; i < data.length; i += LIMITS.eventsPerPush) {
      const read = pulledEvent.array().safeParse(data.slice(i, i + LIMITS.eventsPerPush));
      const source = await this.#log.streamed();
      // Whether there is more to follow, the next page decides: switches that are late end a stream, and nothing else.
      if (source === null || !read.success) return "lost";
      const step = receiveStreamed(this.#log.read(), source, read.data, sha256);
      this.#log.save(step.followed);
      if (!step.ok) return step.code === "equivocation" ? "stopped" : "lost";
      const taken = await this.#take(step, read.data);
      if (taken !== "taken") return taken;
    }
    return null;
  }

  async #take(
    step: FollowStep & { ok: true },
    events: readonly PulledEvent[],
  ): Promise<"stalled" | "sated" | "full" | "taken"> {
    if (events.length === 0) return "taken";
    const { arrivals, waitMs } = await this.#log.take(events);
    this.#satedMs = waitMs;
    if (arrivals === null) return "sated";
    const { followed, stalled } = advance(this.#log.read(), step.batch, arrivals);
    this.#log.save(followed);
    // A log without end of what changes nothing here costs work all the same.
    this.#looked += events.length;
    if (this.#looked >= LIMITS.eventsPerPull) {
      this.#looked = 0;
      await paused(LIMITS.followBreathMs);
    }
    if (stalled && arrivals.some((each) => !each.ok && each.code === "events/quota-spent")) return this.#full();
    if (stalled) return "stalled";
    return waitMs > 0 ? "sated" : "taken";
  }

  async #check(abort: AbortController): Promise<void> {
    const source = await this.#log.streamed().catch(() => null);
    if (source === null) abort.abort();
  }

  /** Whoever wakes it does not make it ask more often than a first failure would. */
  async #wait(ms: number): Promise<void> {
    const startedMs = Date.now();
    await new Promise<void>((resolve) => {
      let timer = setTimeout(resolve, ms);
      this.#wake = () => {
        this.#wake = null;
        clearTimeout(timer);
        timer = setTimeout(resolve, Math.max(0, startedMs + LIMITS.followBackoffMinMs - Date.now()));
      };
    });
    this.#wake = null;
  }
}

/** Full jitter, so that a pool that comes back is not met by all of its peers at once. */
function backoffMs(failures: number): number {
  const ceilingMs = Math.min(LIMITS.followBackoffMinMs * 2 ** failures, LIMITS.followBackoffMaxMs);
  return LIMITS.followBackoffMinMs / 2 + Math.random() * ceilingMs;
}

function paused(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function sha256(bytes: Uint8Array): Uint8Array {
  return hash("sha256", bytes, "buffer");
}
