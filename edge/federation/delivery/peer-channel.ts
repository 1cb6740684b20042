import { draft } from "../../../schema/wire/event-registry.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import type { BondStore } from "../bond-store.ts";
import { afterCalled, afterPushed, type Unavailability } from "./availability-rules.ts";
import { type DeliveryAnswer, type DeliveryKind, type Message, rulesOf } from "./delivery-kind-rules.ts";
import { type CircuitEnd, CLOSED_CIRCUIT, circuitState, endTry, peerIsBack, startTry } from "./delivery-machine.ts";
import type { Tried } from "./delivery-queue.ts";
import type { PeerAnswer } from "./peer-answer.ts";
import { callPeer, openPeer, type PeerAddress, type PeerCall } from "./peer-client.ts";
import type { PeerClock } from "./peer-clock.ts";

/** The functions of the peer's `Bond` that a channel calls. */
export interface ChannelOwner {
  /** Null: there is no peer to call. */
  address(): PeerAddress | null;
  /** Whether something waits to be sent to the peer. */
  isWaiting(): boolean;
  /** Called when the peer answers again after it was unavailable. Whatever waits for the peer may be tried now. */
  back(): void;
  /** Called when the peer's availability has changed, so that the registry gets the new status. */
  availabilityChanged(): void;
}

const ANSWERED: PeerAnswer = Object.freeze({
  ok: true,
  status: 200,
  body: null,
  retryAfterSeconds: null,
  aheadMs: null,
});
const NO_ANSWER = Object.freeze({ outcome: { type: "unreachable" } as const, answer: null });

/**
 * Makes all calls to one peer, with the circuit that stops calls to a peer that does not answer
 * (docs/spec/federation.md#delivery). It also stores why the peer is unavailable.
 */
export class PeerChannel {
  readonly #env: Env;
  readonly #store: BondStore;
  readonly #clock: PeerClock;
  readonly #owner: ChannelOwner;
  /** The peer is available again, and what waits for it was not tried yet. */
  #isBack = false;
  /**
   * When waiting messages were last tried because the peer answered other requests, although it has taken no message
   * since. Epoch ms.
   */
  #letTryAtMs = Number.NEGATIVE_INFINITY;

  constructor(env: Env, store: BondStore, clock: PeerClock, owner: ChannelOwner) {
    this.#env = env;
    this.#store = store;
    this.#clock = clock;
    this.#owner = owner;
  }

  circuit(): "closed" | "open" | "half-open" {
    return circuitState(this.#circuit, Date.now());
  }

  /** Null: the peer was available at the last call. */
  unavailability(): Unavailability | null {
    return this.#store.get("absence") ?? null;
  }

  /** Whether the peer was unavailable at the last call. */
  isAway(): boolean {
    return this.unavailability() !== null || this.circuit() === "open";
  }

  /** Tries one message, through the circuit. `answer`: the peer's verdict; null if there is none. */
  async try<Kind extends DeliveryKind>(
    message: Message<Kind>,
  ): Promise<{ tried: Tried; answer: DeliveryAnswer<Kind>["answer"] }> {
    const nowMs = Date.now();
    const address = this.#owner.address();
    const start = startTry(this.#circuit, nowMs);
    if (!start.ok) return { tried: { type: "later", atMs: start.retryAtMs }, answer: null };
    if (address === null) return later(nowMs);
    if (start.circuit !== this.#circuit) this.#store.put("circuit", start.circuit);
    const { target, read } = rulesOf(message.kind as Kind);
    const called = await callPeer(this.#env, address, { method: "POST", target, body: message.body });
    // Our own policy refused the call. This is not a try, and the messages wait.
    if (!called.ok && called.code !== "federation/unreachable") return later(Date.now());
    if (called.ok && called.aheadMs !== null) this.#clock.heard(called.aheadMs);
    const { outcome, answer } = called.ok ? read(called) : NO_ANSWER;
    this.#found(afterPushed(this.unavailability(), outcome, Date.now()));
    if (this.unavailability() === null) this.#letTryAtMs = Number.NEGATIVE_INFINITY;
    this.#ended(endTry(this.#circuit, outcome, Date.now()));
    return { tried: { type: "tried", outcome }, answer };
  }

  /**
   * Sends any other request to the peer. Its caller has a backoff of its own, so the circuit does not stop it. An
   * answer shows that the peer is available again, unless only its pushes fail.
   */
  async call(call: PeerCall): Promise<PeerAnswer> {
    const address = this.#owner.address();
    if (address === null) return { ok: false, code: "federation/unreachable" };
    const answer = await callPeer(this.#env, address, call);
    if (answer.ok && answer.aheadMs !== null) this.#clock.heard(answer.aheadMs);
    this.#called(answer);
    return answer;
  }

  /** As `call`, for an answer that is a stream. Null if the peer cannot be called. */
  async open(call: PeerCall, signal: AbortSignal): Promise<Response | null> {
    const address = this.#owner.address();
    const opened = address === null ? null : await openPeer(this.#env, address, call, signal);
    if (!(opened instanceof Response)) return null;
    if (opened.status === 200) this.#called(ANSWERED);
    return opened;
  }

  /** Call it when the peer has just proved its key to our admin. Then waiting messages may be tried. */
  proved(): void {
    this.#found(null);
    this.#letTry();
  }

  #called(answer: PeerAnswer): void {
    const before = this.unavailability();
    this.#found(afterCalled(before, answer, Date.now()));
    const isAvailable = this.unavailability() === null;
    this.#isBack ||= before !== null && isAvailable;
    // At most once a minute without success: otherwise a peer at which only pushes fail would get pushes all the time.
    const isSoon = Math.abs(Date.now() - this.#letTryAtMs) < LIMITS.peerVerifyMs;
    if (this.#isBack && isAvailable && !isSoon) this.#letTry();
  }

  #letTry(): void {
    this.#isBack = false;
    const isWaiting = this.#owner.isWaiting();
    if (isWaiting) this.#letTryAtMs = Date.now();
    const end = peerIsBack(this.#circuit, isWaiting, Date.now());
    this.#ended(end);
    if (end.change === null) this.#owner.back();
  }

  #found(unavailability: Unavailability | null): void {
    // Write nothing for a peer that was forgotten during the call.
    if (unavailability === this.unavailability() || this.#owner.address() === null) return;
    if (unavailability === null) this.#store.delete("absence");
    else this.#store.put("absence", unavailability);
    this.#owner.availabilityChanged();
  }

  #ended({ circuit, change }: CircuitEnd): void {
    const peer = this.#store.peer?.atomId;
    if (circuit === this.#circuit || this.#store.trust === null || peer === undefined) return;
    if (change === null) {
      this.#store.put("circuit", circuit);
      return;
    }
    this.#store.transaction(() => {
      this.#store.put("circuit", circuit);
      this.#store.recordPeer();
      this.#store.events.put(draft(change === "opened" ? "circuit_opened" : "circuit_closed", { peer }));
    });
    if (change === "closed") this.#owner.back();
  }

  get #circuit() {
    return this.#store.get("circuit") ?? CLOSED_CIRCUIT;
  }
}

function later(nowMs: number): { tried: Tried; answer: null } {
  return { tried: { type: "later", atMs: nowMs + LIMITS.deliveryOffMs }, answer: null };
}
