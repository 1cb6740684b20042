import { hash } from "node:crypto";
import { createParser } from "eventsource-parser";
import { openCheckpoint } from "../../../schema/crypto/signed-event.ts";
import { type PeerAudience, type PulledEvent, pullAnswer, pulledEvent } from "../../../schema/wire/events.ts";
import { parseJson } from "../../../schema/wire/json-text.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { pause } from "../../limits/timeout.ts";
import type { PeerAnswer } from "../delivery/peer-answer.ts";
import type { PeerCall } from "../delivery/peer-client.ts";
import { afterRound, type NextStep, type RoundOutcome } from "./follow-machine.ts";
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

/** Whether this pool follows the log now. `unknown`: the federation switch could not be read in time. */
export type SourceAnswer =
  | { readonly type: "follow"; readonly source: Source }
  | { readonly type: "stop" }
  | { readonly type: "unknown" };

/**
 * What our log did with a batch of events. `unavailable`: the log or D1 did not answer, or this pool does not follow
 * the peer now.
 */
export type TakeAnswer =
  | { readonly type: "taken"; readonly results: readonly IncomingResult[]; readonly waitMs: number }
  | { readonly type: "throttled"; readonly waitMs: number }
  | { readonly type: "unavailable" };

/** One audience of one peer's log, with everything that a follower needs of it. */
export interface FollowedLog {
  readonly audience: PeerAudience;
  /** Called before each page. */
  source(): Promise<SourceAnswer>;
  /** Called every half second while a stream is open, and for all events that it brings. Null ends the stream. */
  streamSource(): Promise<Source | null>;
  read(): Followed;
  /** Durable when it returns. */
  save(followed: Followed): void;
  /** Records why the peer's log cannot be followed; null: this pool has all of its events. */
  refused(reason: FollowRefusal | null): void;
  call(call: PeerCall): Promise<PeerAnswer>;
  open(call: PeerCall, signal: AbortSignal): Promise<Response | null>;
  /** Whether our log has room for more events of this peer. */
  room(): Promise<"room" | "full" | "unavailable">;
  take(events: readonly PulledEvent[]): Promise<TakeAnswer>;
  /** An exception that no rule expects, for the operator's log. */
  reportBug(error: unknown): void;
}

/**
 * A stream that ends sooner counts as failed, so that this pool does not call without a pause a peer that closes each
 * stream.
 */
const SHORT_STREAM_MS = 5_000;

/**
 * How one pull ended. `level`: this pool has all events. `rewound`: the page does not match the cursor, which may have
 * moved back.
 */
type PullOutcome =
  | RoundOutcome
  | { readonly type: "more" }
  | { readonly type: "level" }
  | { readonly type: "rewound"; readonly reason: FollowRefusal };

/**
 * Follows one audience of one peer's log (docs/spec/events.md#sync). It pulls until it has all events, then reads the
 * log's stream. When the stream ends, it pulls again. This class makes the calls and waits; `follow-machine.ts` decides
 * what comes next, and `followed-log-rules.ts` checks the pages.
 */
export class Follower {
  readonly #log: FollowedLog;
  #isRunning = false;
  #failures = 0;
  /**
   * A new round was requested. `start` sets this during a round, so that an outdated answer cannot stop the follower.
   */
  #isWanted = false;
  /** This round has brought events. */
  #hasProgressed = false;
  /** Shortens the current wait. Null while the follower does not wait. */
  #wake: (() => void) | null = null;
  #stream: AbortController | null = null;
  /** Events since the last pause. */
  #eventsSincePause = 0;
  streaming = false;

  constructor(log: FollowedLog) {
    this.#log = log;
  }

  /**
   * Starts the follower; the promise resolves when it has stopped. Null: it runs already. If it waits, its wait is
   * shortened.
   */
  start(): Promise<void> | null {
    this.#wake?.();
    this.#isWanted = true;
    return this.#isRunning ? null : this.#run();
  }

  /** Call it after the cursor was set from outside, because an open stream would continue at the old position. */
  endStream(): void {
    this.#stream?.abort();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (;;) {
      this.#isWanted = false;
      this.#hasProgressed = false;
      const outcome = await this.#round().catch((error): RoundOutcome => {
        this.#log.reportBug(error);
        return { type: "bug" };
      });
      const round = { hasProgressed: this.#hasProgressed, isRestarted: this.#isWanted };
      const { failures, next } = afterRound(this.#failures, outcome, round, Math.random());
      this.#failures = failures;
      if (next.type === "stop") break;
      if (next.type !== "again") await this.#until(next);
    }
    this.#isRunning = false;
  }

  async #round(): Promise<RoundOutcome> {
    const caughtUp = await this.#catchUp();
    return caughtUp.type === "level" ? this.#readStream() : caughtUp;
  }

  async #catchUp(): Promise<RoundOutcome | { type: "level" }> {
    for (let rewinds = 0; ; ) {
      const pulled = await this.#pull();
      if (pulled.type === "more") continue;
      if (pulled.type !== "rewound") return pulled;
      // Pull once more, from the current cursor. If the page does not match again, the round fails.
      if (rewinds++ > 0) return this.#refuse(pulled.reason);
    }
  }

  async #pull(): Promise<PullOutcome> {
    const followed = await this.#log.source();
    if (followed.type === "unknown") return { type: "failed" };
    if (followed.type === "stop") return { type: "stopped" };
    const room = await this.#log.room();
    if (room === "unavailable") return { type: "failed" };
    if (room === "full") return this.#full();
    const since = this.#log.read().cursor.seq;
    const answer = await this.#log.call({
      method: "GET",
      target: `/api/federation/events?audience=${this.#log.audience}&since=${since}`,
      maxBytes: LIMITS.pullAnswerBytes,
    });
    if (answer.ok && answer.status === 429 && answer.retryAfterSeconds !== null) {
      // Our pulls have used up the work that the peer allows us. The peer is available and says when to call again.
      return { type: "throttled", waitMs: Math.max(answer.retryAfterSeconds * 1_000, LIMITS.followBackoffMinMs) };
    }
    if (!answer.ok || answer.status !== 200) return { type: "failed" };
    const page = pullAnswer.safeParse(answer.body);
    if (!page.success || !(await openCheckpoint(page.data.checkpoint)).ok) return this.#refuse("malformed");
    const { events, next, head } = page.data;
    const step = receivePage(this.#log.read(), followed.source, page.data, sha256);
    this.#log.save(step.followed);
    if (!step.ok) return step.code === "equivocation" ? { type: "stopped" } : { type: "rewound", reason: step.code };
    const stop = await this.#take(step, events);
    if (events.length > 0 && stop?.type !== "failed") this.#hasProgressed = true;
    if (stop !== null) return stop;
    if (next < head && events.length > 0) return { type: "more" };
    this.#log.refused(null);
    return { type: "level" };
  }

  /** Our log has no room for the event after the cursor. The next pull waits until our admin has raised the quota. */
  #full(): RoundOutcome {
    this.#log.refused("quota-spent");
    return { type: "full" };
  }

  #refuse(reason: FollowRefusal): RoundOutcome {
    this.#log.refused(reason);
    return { type: "failed" };
  }

  async #readStream(): Promise<RoundOutcome> {
    const since = this.#log.read().cursor.seq;
    const abort = new AbortController();
    this.#stream = abort;
    let silent = setTimeout(() => abort.abort(), LIMITS.streamSilenceMs);
    const checks = setInterval(() => void this.#check(abort), LIMITS.streamCheckMs);
    const tooLong = setTimeout(() => abort.abort(), LIMITS.eventStreamMs + LIMITS.streamSilenceMs);
    try {
      const target = `/api/federation/stream?audience=${this.#log.audience}&since=${since}`;
      const response = await this.#log.open({ method: "GET", target }, abort.signal);
      if (response?.status !== 200 || !response.body) return { type: "failed" };
      this.streaming = true;
      const openedMs = Date.now();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const ready: unknown[] = [];
      let isTooLarge = false;
      const parser = createParser({
        maxBufferSize: LIMITS.streamEventChars,
        onEvent: ({ data }) => ready.push(parseJson(data)),
        onError: ({ type }) => {
          isTooLarge ||= type === "max-buffer-size-exceeded";
        },
      });
      for (;;) {
        // A rejection means that the connection was lost, or that this side has aborted it.
        const chunk = await reader.read().catch(() => null);
        if (chunk === null) return { type: "failed" };
        if (chunk.done) return { type: Date.now() - openedMs > SHORT_STREAM_MS ? "caught-up" : "failed" };
        clearTimeout(silent);
        silent = setTimeout(() => abort.abort(), LIMITS.streamSilenceMs);
        parser.feed(chunk.value);
        if (isTooLarge) return { type: "failed" };
        const events = ready.splice(0);
        const stop = await this.#takeStreamed(events);
        if (stop !== null) return stop;
        if (events.length > 0) this.#hasProgressed = true;
      }
    } finally {
      this.streaming = false;
      this.#stream = null;
      clearTimeout(silent);
      clearTimeout(tooLong);
      clearInterval(checks);
      abort.abort();
    }
  }

  /** Null: continue to read. */
  async #takeStreamed(data: readonly unknown[]): Promise<RoundOutcome | null> {
    for (let i = 0; i < data.length; i += LIMITS.eventsPerPush) {
      const read = pulledEvent.array().safeParse(data.slice(i, i + LIMITS.eventsPerPush));
      const source = await this.#log.streamSource();
      // A late answer about the switches only ends the stream: the next pull decides whether to continue.
      if (source === null || !read.success) return { type: "failed" };
      const step = receiveStreamed(this.#log.read(), source, read.data, sha256);
      this.#log.save(step.followed);
      if (!step.ok) return { type: step.code === "equivocation" ? "stopped" : "failed" };
      const stop = await this.#take(step, read.data);
      if (stop !== null) return stop;
    }
    return null;
  }

  /** Gives events to our log and moves the cursor. Null: our log has processed the whole batch, and takes more now. */
  async #take(step: FollowStep & { ok: true }, events: readonly PulledEvent[]): Promise<RoundOutcome | null> {
    if (events.length === 0) return null;
    const taken = await this.#log.take(events);
    if (taken.type === "unavailable") return { type: "failed" };
    if (taken.type === "throttled") return taken;
    const { results, waitMs } = taken;
    const { followed, stalled } = advance(this.#log.read(), step.batch, results);
    this.#log.save(followed);
    await this.#pauseAtTimes(events.length);
    if (stalled && results.some((each) => !each.ok && each.code === "events/quota-spent")) return this.#full();
    if (stalled) return { type: "stalled" };
    return waitMs > 0 ? { type: "throttled", waitMs } : null;
  }

  /**
   * Pauses after each page's worth of events, so that other requests run in between. A log may be endless, and even
   * events that change nothing cost work.
   */
  async #pauseAtTimes(events: number): Promise<void> {
    this.#eventsSincePause += events;
    if (this.#eventsSincePause < LIMITS.eventsPerPull) return;
    this.#eventsSincePause = 0;
    await pause(LIMITS.followBreathMs);
  }

  async #check(abort: AbortController): Promise<void> {
    try {
      if ((await this.#log.streamSource()) === null) abort.abort();
    } catch (error) {
      this.#log.reportBug(error);
      abort.abort();
    }
  }

  async #until(next: Extract<NextStep, { ms: number }>): Promise<void> {
    if (next.type === "pause") return pause(next.ms);
    const startedMs = Date.now();
    await new Promise<void>((resolve) => {
      let timer = setTimeout(resolve, next.ms);
      this.#wake = () => {
        this.#wake = null;
        clearTimeout(timer);
        // Keep at least the shortest backoff, however often `start` is called.
        timer = setTimeout(resolve, Math.max(0, startedMs + LIMITS.followBackoffMinMs - Date.now()));
      };
    });
    this.#wake = null;
  }
}

function sha256(bytes: Uint8Array): Uint8Array {
  return hash("sha256", bytes, "buffer");
}
