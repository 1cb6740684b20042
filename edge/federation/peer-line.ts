import type { PushAnswer } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Env } from "../env.ts";
import {
  type Circuit,
  type CircuitEnd,
  CLOSED_CIRCUIT,
  circuitState,
  endTry,
  type Outcome,
  startTry,
} from "./delivery.ts";
import { readPushAnswer } from "./delivery-answer.ts";
import type { Message, Tried } from "./delivery-queue.ts";
import { callPeer, openPeer, type PeerAddress, type PeerAnswer, type PeerCall } from "./peer-client.ts";

/** What a line needs of its peer's `Bond`. */
export interface LineOwner {
  /** Null: there is nobody to call. */
  address(): PeerAddress | null;
  /** The circuit opened or closed: `save` belongs into the transaction that says so. */
  changed(change: "opened" | "closed", save: () => void): void;
}

/** An answer that shows the peer to be there. */
const ANSWERED: Outcome = Object.freeze({ type: "answered", status: 200, retryAfterSeconds: null });

const NO_ANSWER = Object.freeze({ outcome: { type: "unreachable" } as const, answer: null });

/** Calls to one peer, and the circuit that keeps from calling one that does not answer (SPEC 3.7). */
export class PeerLine {
  readonly #env: Env;
  readonly #kv: SyncKvStorage;
  readonly #owner: LineOwner;
  #circuit: Circuit;
  /** Whether the last try met no answer at all; nobody knows any more after a restart. */
  #isSilent = true;

  constructor(env: Env, kv: SyncKvStorage, owner: LineOwner) {
    this.#env = env;
    this.#kv = kv;
    this.#owner = owner;
    this.#circuit = kv.get("circuit") ?? CLOSED_CIRCUIT;
  }

  circuit(): "closed" | "open" | "half-open" {
    return circuitState(this.#circuit, Date.now());
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
    const { outcome, answer } = called.ok ? readPushAnswer(called) : NO_ANSWER;
    this.#isSilent = outcome.type === "unreachable";
    this.#ended(endTry(this.#circuit, outcome, Date.now()));
    return { tried: { type: "tried", outcome }, answer };
  }

  /**
   * What we ask for ourselves, with a backoff of its own: it goes past an open circuit. Where that was opened by silence,
   * an answer shows that the peer is back, and what waits may be tried; where it was opened by answers, it shows nothing.
   */
  async call(call: PeerCall): Promise<PeerAnswer> {
    const address = this.#owner.address();
    if (address === null) return { ok: false, code: "federation/unreachable" };
    const answer = await callPeer(this.#env, address, call);
    const isBack = answer.ok && answer.status === 200 && this.#isSilent && this.#circuit.openedAtMs !== null;
    if (isBack) this.#ended(endTry(this.#circuit, ANSWERED, Date.now()));
    return answer;
  }

  /** The same for a stream: null where there is none. */
  async open(call: PeerCall, signal: AbortSignal): Promise<Response | null> {
    const address = this.#owner.address();
    const opened = address === null ? null : await openPeer(this.#env, address, call, signal);
    return opened instanceof Response ? opened : null;
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
