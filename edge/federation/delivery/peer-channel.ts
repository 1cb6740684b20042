import type { PushAnswer } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { afterCalled, afterPushed, type Unavailability } from "./availability-rules.ts";
import { readPushAnswer } from "./delivery-answer-rules.ts";
import {
  type Circuit,
  type CircuitEnd,
  CLOSED_CIRCUIT,
  circuitState,
  endTry,
  peerIsBack,
  startTry,
} from "./delivery-machine.ts";
import type { Message, Tried } from "./delivery-queue.ts";
import { callPeer, openPeer, type PeerAddress, type PeerAnswer, type PeerCall } from "./peer-client.ts";

/** What a line needs of its peer's `Bond`. */
export interface ChannelOwner {
  /** Null: there is nobody to call. */
  address(): PeerAddress | null;
  /** The circuit opened or closed: `save` belongs into the transaction that says so. */
  changed(change: "opened" | "closed", save: () => void): void;
  /** Why it is not there is another reason now, or none. */
  absent(): void;
  /** Whether something waits to be tried. */
  isWaiting(): boolean;
  /** It was away and answers: what waits for it may be tried. */
  back(): void;
  /** How far our clock is ahead of its, at least. */
  heardTime(aheadMs: number): void;
}

const ANSWERED: PeerAnswer = Object.freeze({
  ok: true,
  status: 200,
  body: null,
  retryAfterSeconds: null,
  aheadMs: null,
});
const NO_ANSWER = Object.freeze({ outcome: { type: "unreachable" } as const, answer: null });

/** Calls to one peer, and the circuit that keeps from calling one that does not answer (docs/spec/federation.md#delivery). */
export class PeerChannel {
  readonly #env: Env;
  readonly #kv: SyncKvStorage;
  readonly #owner: ChannelOwner;
  #circuit: Circuit;
  #absence: Unavailability | null;
  /** It is back, and what waits for it was not tried yet. */
  #isBack = false;
  /** When it was last let try for it, and has taken nothing since. */
  #letTryAtMs = Number.NEGATIVE_INFINITY;

  constructor(env: Env, kv: SyncKvStorage, owner: ChannelOwner) {
    this.#env = env;
    this.#kv = kv;
    this.#owner = owner;
    this.#circuit = kv.get("circuit") ?? CLOSED_CIRCUIT;
    this.#absence = kv.get("absence") ?? null;
  }

  circuit(): "closed" | "open" | "half-open" {
    return circuitState(this.#circuit, Date.now());
  }

  /** Null: the last that we know is that it was there. */
  absence(): Unavailability | null {
    return this.#absence;
  }

  /** One try of a push, through the circuit; `answer` is what the peer says of its events. */
  async try(message: Message): Promise<{ tried: Tried; answer: PushAnswer | null }> {
    const nowMs = Date.now();
    const address = this.#owner.address();
    const start = startTry(this.#circuit, nowMs);
    if (!start.ok) return { tried: { type: "later", atMs: start.retryAtMs }, answer: null };
    if (address === null) return later(nowMs);
    this.#save(start.circuit);
    const called = await callPeer(this.#env, address, { method: "POST", ...message });
    // Our own policy kept it here: nothing was tried, nothing is counted, everything waits.
    if (!called.ok && called.code !== "federation/unreachable") return later(Date.now());
    if (called.ok && called.aheadMs !== null) this.#owner.heardTime(called.aheadMs);
    const { outcome, answer } = called.ok ? readPushAnswer(called) : NO_ANSWER;
    this.#found(afterPushed(this.#absence, outcome, Date.now()));
    if (this.#absence === null) this.#letTryAtMs = Number.NEGATIVE_INFINITY;
    this.#ended(endTry(this.#circuit, outcome, Date.now()));
    return { tried: { type: "tried", outcome }, answer };
  }

  /**
   * What we ask for ourselves, with a backoff of its own: it goes past an open circuit. An answer of one that was away
   * shows that it is back; of one that answers what it is sent with errors, and all else well, it shows nothing.
   */
  async call(call: PeerCall): Promise<PeerAnswer> {
    const address = this.#owner.address();
    if (address === null) return { ok: false, code: "federation/unreachable" };
    const answer = await callPeer(this.#env, address, call);
    if (answer.ok && answer.aheadMs !== null) this.#owner.heardTime(answer.aheadMs);
    this.#called(answer);
    return answer;
  }

  /** The same for a stream: null where there is none. */
  async open(call: PeerCall, signal: AbortSignal): Promise<Response | null> {
    const address = this.#owner.address();
    const opened = address === null ? null : await openPeer(this.#env, address, call, signal);
    if (!(opened instanceof Response)) return null;
    if (opened.status === 200) this.#called(ANSWERED);
    return opened;
  }

  /** Our admin had it prove itself: whatever it was before, what waits may be tried. */
  met(): void {
    this.#found(null);
    this.#letTry();
  }

  /** Before the storage is emptied: nothing is known of it any more. */
  forget(): void {
    this.#circuit = CLOSED_CIRCUIT;
    this.#absence = null;
  }

  #called(answer: PeerAnswer): void {
    const wasAway = this.#absence !== null;
    this.#found(afterCalled(this.#absence, answer, Date.now()));
    this.#isBack ||= wasAway && this.#absence === null;
    // In vain once a minute at most: one that is away for what it is sent alone would be sent it all the time.
    const isSoon = Math.abs(Date.now() - this.#letTryAtMs) < LIMITS.peerVerifyMs;
    if (this.#isBack && this.#absence === null && !isSoon) this.#letTry();
  }

  #letTry(): void {
    this.#isBack = false;
    const isWaiting = this.#owner.isWaiting();
    if (isWaiting) this.#letTryAtMs = Date.now();
    const end = peerIsBack(this.#circuit, isWaiting, Date.now());
    this.#ended(end);
    if (end.change === null) this.#owner.back();
  }

  #found(absence: Unavailability | null): void {
    // Forgotten while it was called: nothing is kept of it.
    if (absence === this.#absence || this.#owner.address() === null) return;
    this.#absence = absence;
    if (absence === null) this.#kv.delete("absence");
    else this.#kv.put("absence", absence);
    this.#owner.absent();
  }

  #ended({ circuit, change }: CircuitEnd): void {
    if (change === null) this.#save(circuit);
    else this.#owner.changed(change, () => this.#save(circuit));
  }

  #save(circuit: Circuit): void {
    if (circuit === this.#circuit) return;
    this.#circuit = circuit;
    this.#kv.put("circuit", circuit);
  }
}

function later(nowMs: number): { tried: Tried; answer: null } {
  return { tried: { type: "later", atMs: nowMs + LIMITS.deliveryOffMs }, answer: null };
}
