import { openEvent } from "../../../schema/crypto/signed-event.ts";
import { type PeerAudience, type PushBody, pushBody, type SignedEvent } from "../../../schema/wire/events.ts";
import type { FederationPolicy, TrustLevel } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { eventLogForBonds } from "../../events/event-log-for.ts";
import { mayRead, TRUST_FOR_PUBLIC } from "../../events/visibility-rules.ts";
import { parseBody } from "../../http/body.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { registryForBonds } from "../peering/peer-registry-for.ts";
import type { ReceivedGrants } from "../peering/received-grants.ts";
import type { Admissions } from "../signing/admissions.ts";
import type { EndpointRefusal, Pulled, PullRequest, Pushed } from "./event-endpoint-answers.ts";
import { type EventSender, takeIncoming } from "./incoming-events.ts";
import { answerPush, type IncomingResult } from "./incoming-rules.ts";
import { checkOutgoing } from "./outgoing-events.ts";
import { incomingCostUs, largestPage, pageCostUs, restMs, sizeOf } from "./peer-work-rate-rules.ts";
import { Turns } from "./turns.ts";

/** The functions of the peer's `Bond` that the endpoint calls. */
export interface EndpointOwner {
  /** The peer, with its current effective trust, which may have changed since the request was admitted. */
  sender(policy: FederationPolicy): EventSender;
  admissions(): Admissions;
  acknowledge(audience: PeerAudience, log: { logId: string; head: number }, since: number): void;
  /** Sends what grants have put into the outboxes. */
  flushPending(): Promise<void>;
}

const BUSY: EndpointRefusal = Object.freeze({
  ok: false,
  code: "federation/rate-limited",
  message: "Other requests of this peer are being answered. A pool answers them one at a time.",
  retryAfterSeconds: 1,
});

/**
 * Answers the pulls and pushes of one peer, in the peer's `Bond`. It answers one at a time, so that no peer gets more
 * than one turn among all peers. It charges the peer for the work (`peer-work-rate-rules.ts`).
 */
export class EventEndpoint {
  readonly #env: Env;
  readonly #owner: EndpointOwner;
  readonly #grants: ReceivedGrants;
  readonly #turns = new Turns();
  #lastCostUs = 0;
  /** Epoch ms until which our log takes no events from this peer. */
  #throttledUntilMs = 0;

  constructor(env: Env, owner: EndpointOwner, grants: ReceivedGrants) {
    this.#env = env;
    this.#owner = owner;
    this.#grants = grants;
  }

  async pull(request: PullRequest, policy: FederationPolicy): Promise<Pulled> {
    return (await this.#turns.take(() => this.#pull(request, policy), this.#rest(policy))) ?? BUSY;
  }

  async push(body: Uint8Array, policy: FederationPolicy): Promise<Pushed> {
    return (await this.#turns.take(() => this.#push(body, policy), this.#rest(policy))) ?? BUSY;
  }

  #rest({ peer_work_ms_per_second }: FederationPolicy): () => number {
    return () => restMs(this.#lastCostUs, peer_work_ms_per_second);
  }

  async #pull({ audience, since, limit }: PullRequest, policy: FederationPolicy): Promise<Pulled> {
    const reader = this.#owner.sender(policy);
    if (!mayRead(audience, reader.trust)) return { ok: false, code: "federation/untrusted" };
    return this.#charged<Pulled>(pageCostUs(largestPage(limit)), async (setCost) => {
      const { atomId: self } = await poolKeys(this.#env);
      const page = checkOutgoing(await this.#log().read(audience, since, limit), reader, self);
      setCost(pageCostUs(sizeOf(page.events)));
      this.#owner.acknowledge(audience, { logId: page.checkpoint.checkpoint.log_id, head: page.head }, since);
      return { ok: true, json: JSON.stringify(page) };
    });
  }

  async #push(bytes: Uint8Array, policy: FederationPolicy): Promise<Pushed> {
    const throttled = this.#throttled(Date.now());
    if (throttled !== null) return throttled;
    // Before the body is parsed, only its length is known.
    const unread = { events: 1, chars: bytes.length };
    return this.#charged<Pushed>(incomingCostUs(unread, unread), async (setCost) => {
      const json = parseBody(bytes);
      if (!json.ok) return { ok: false, code: json.code, message: json.message };
      const parsed = pushBody.safeParse(json.value);
      if (!parsed.success) {
        return { ok: false, code: "http/invalid-body", param: parsed.error.issues[0]?.path.join(".") ?? "" };
      }
      const { events } = parsed.data;
      const sender = this.#owner.sender(policy);
      setCost(incomingCostUs(sizeOf(events), sizeOf(events)));
      if (sender.trust < TRUST_FOR_PUBLIC) return this.#pushBelowTrust2(events, sender, policy);
      const { atomId: self } = await poolKeys(this.#env);
      const taken = await takeIncoming(this.#env, { self, policy }, sender, events);
      const { results, waitMs, grants, unlogged } = taken;
      setCost(incomingCostUs(sizeOf(events), taken.unknown));
      this.#throttledUntilMs = Date.now() + waitMs;
      if (results === null) return tooManyEvents(waitMs);
      if (grants.length > 0) await this.#thenFlush(() => this.#grants.receive(grants, policy));
      for (const { index, event } of unlogged) {
        const wire = events[index]?.event as SignedEvent;
        results[index] = await this.#thenFlush(() => this.#grants.keep(wire, event, self, policy));
      }
      return this.#answer(results, sender.trust);
    });
  }

  /**
   * Takes a push of a peer below trust 2: exactly one grant, at a rate that all such peers share. The grant does not go
   * to our log yet.
   */
  async #pushBelowTrust2(
    [only, ...more]: PushBody["events"],
    sender: EventSender,
    policy: FederationPolicy,
  ): Promise<Pushed> {
    if (only === undefined || more.length > 0) return { ok: false, code: "federation/untrusted" };
    const registry = registryForBonds(this.#env);
    const rate = await registry.takeStrangerGrant(this.#grants.isFirstTry());
    if (!rate.ok) {
      return { ok: false, code: "federation/rate-limited", retryAfterSeconds: rate.retryAfterSeconds };
    }
    this.#grants.tried();
    const { atomId: self } = await poolKeys(this.#env);
    const opened = await openEvent(only.event);
    if (!opened.ok) {
      return this.#answer([{ ok: false, content_id: only.event.content_id, code: opened.code }], sender.trust);
    }
    const result = await this.#thenFlush(() => this.#grants.keep(only.event, opened.event, self, policy));
    return this.#answer([result], sender.trust);
  }

  async #thenFlush<T>(receive: () => Promise<T>): Promise<T> {
    const received = await receive();
    await this.#owner.flushPending();
    return received;
  }

  async #answer(results: readonly IncomingResult[], trust: TrustLevel): Promise<Pushed> {
    const { hlc, public: head } = await this.#log().heads();
    // Report the head of the public audience. The head of the whole log would reveal how many private events we have.
    return { ok: true, ...answerPush(results, { hlc, head: mayRead("public", trust) ? head : 0 }) };
  }

  /**
   * Charges `highestUs` before the work. The work can call `setCost` with a lower cost; the difference is refunded
   * afterwards. A peer that owes too much was refused earlier, by `Bond.admit`.
   */
  async #charged<T>(
    highestUs: number,
    work: (setCost: (costUs: number) => void) => Promise<T | EndpointRefusal>,
  ): Promise<T | EndpointRefusal> {
    const admissions = this.#owner.admissions();
    let costUs = highestUs;
    admissions.chargeWork(highestUs, Date.now());
    try {
      return await work((actualUs) => {
        costUs = actualUs;
      });
    } finally {
      this.#lastCostUs = costUs;
      admissions.chargeWork(costUs - highestUs, Date.now());
    }
  }

  /** The refusal while our log takes no events from this peer; otherwise null. */
  #throttled(nowMs: number): EndpointRefusal | null {
    const waitMs = this.#throttledUntilMs - nowMs;
    // A longer wait means that the wall clock stepped back.
    return waitMs <= 0 || waitMs > LIMITS.refusalKeptMs ? null : tooManyEvents(waitMs);
  }

  #log() {
    return eventLogForBonds(this.#env);
  }
}

function tooManyEvents(waitMs: number): EndpointRefusal {
  const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1_000));
  return { ok: false, code: "federation/rate-limited", message: "This peer sent too many events.", retryAfterSeconds };
}
