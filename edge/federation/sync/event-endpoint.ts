import { openEvent } from "../../../schema/crypto/signed-event.ts";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import {
  type PeerAudience,
  type PushAnswer,
  type PushBody,
  pushBody,
  type SignedEvent,
} from "../../../schema/wire/events.ts";
import type { FederationPolicy, TrustLevel } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import type { Env } from "../../env.ts";
import { mayRead, TRUST_FOR_PUBLIC } from "../../events/visibility-rules.ts";
import { parseJson } from "../../http/body.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { EVENT_LOG, PEER_REGISTRY } from "../../object-names.ts";
import type { ReceivedGrants } from "../peering/received-grants.ts";
import type { Admissions } from "../signing/admissions.ts";
import { type EventSender, takeIncoming } from "./incoming-events.ts";
import { answerPush, type IncomingResult } from "./incoming-rules.ts";
import { checkOutgoing } from "./outgoing-events.ts";
import { arrivalCostUs, mostOfPage, pageCostUs, restMs, sizeOf } from "./peer-work-rate-rules.ts";
import { Turns } from "./turns.ts";

export interface EndpointRefusal {
  readonly ok: false;
  readonly code: ErrorCode;
  readonly message?: string | undefined;
  readonly param?: string | undefined;
  readonly retryAfterSeconds?: number;
}

/** `json` is the page as it is sent: text costs less than its values on the way out of the object. */
export type Pulled = { readonly ok: true; readonly json: string } | EndpointRefusal;
export type Pushed = { readonly ok: true; readonly status: 200 | 400; readonly body: PushAnswer } | EndpointRefusal;

export interface PullRequest {
  readonly audience: PeerAudience;
  readonly since: number;
  readonly limit: number;
}

/** What the desk needs of its peer's `Bond`. */
export interface EndpointOwner {
  /** Who asks, with the trust in effect now: it may have changed since the request was admitted. */
  sender(policy: FederationPolicy): EventSender;
  admissions(): Admissions;
  acknowledge(audience: PeerAudience, log: { logId: string; head: number }, since: number): void;
  /** After grants changed something. */
  flushPending(): Promise<void>;
}

const BUSY: EndpointRefusal = Object.freeze({
  ok: false,
  code: "federation/rate-limited",
  message: "This peer has requests under way; they are answered one at a time.",
  retryAfterSeconds: 1,
});

/**
 * Pulls and pushes of one peer, in its `Bond`: one at a time, so that a peer takes no more than one turn among all others,
 * and charged by what they make this pool look at (`peer-work-rate-rules.ts`).
 */
export class EventEndpoint {
  readonly #env: Env;
  readonly #owner: EndpointOwner;
  readonly #grants: ReceivedGrants;
  readonly #turns = new Turns();
  /** Of the last turn. */
  #lastCostUs = 0;
  /** Our log has enough of this peer's events until then. */
  #bringsAgainAtMs = 0;

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
    return this.#charged<Pulled>(pageCostUs(mostOfPage(limit)), async (settle) => {
      const { atomId: self } = await poolKeys(this.#env);
      const page = checkOutgoing(await this.#log().read(audience, since, limit), reader, self);
      settle(pageCostUs(sizeOf(page.events)));
      this.#owner.acknowledge(audience, { logId: page.checkpoint.checkpoint.log_id, head: page.head }, since);
      return { ok: true, json: JSON.stringify(page) };
    });
  }

  async #push(bytes: Uint8Array, policy: FederationPolicy): Promise<Pushed> {
    const enough = this.#enough(Date.now());
    if (enough !== null) return enough;
    // Before it is parsed, the length of the body is all that is known of it.
    const unread = { events: 1, chars: bytes.length };
    return this.#charged<Pushed>(arrivalCostUs(unread, unread), async (settle) => {
      const json = parseJson(bytes);
      if (!json.ok) return { ok: false, code: json.code, message: json.message };
      const parsed = pushBody.safeParse(json.value);
      if (!parsed.success) {
        return { ok: false, code: "http/invalid-body", param: parsed.error.issues[0]?.path.join(".") ?? "" };
      }
      const { events } = parsed.data;
      const from = this.#owner.sender(policy);
      settle(arrivalCostUs(sizeOf(events), sizeOf(events)));
      if (from.trust < TRUST_FOR_PUBLIC) return this.#pushFromBelow(events, from, policy);
      const { atomId: self } = await poolKeys(this.#env);
      const taken = await takeIncoming(this.#env, { self, policy }, from, events);
      const { arrivals, waitMs, grants, unlogged } = taken;
      settle(arrivalCostUs(sizeOf(events), taken.unknown));
      this.#bringsAgainAtMs = Date.now() + waitMs;
      if (arrivals === null) return tooMany(waitMs);
      if (grants.length > 0) await this.#received(() => this.#grants.receive(grants, policy));
      for (const { place, event } of unlogged) {
        const wire = events[place]?.event as SignedEvent;
        arrivals[place] = await this.#received(() => this.#grants.keep(wire, event, self, policy));
      }
      return this.#answer(arrivals, from.trust);
    });
  }

  /** One grant at a time, at a rate that all such peers share; our log hears nothing of it yet. */
  async #pushFromBelow(
    [only, ...more]: PushBody["events"],
    from: EventSender,
    policy: FederationPolicy,
  ): Promise<Pushed> {
    if (only === undefined || more.length > 0) return { ok: false, code: "federation/untrusted" };
    const registry = this.#env.PEER_REGISTRY.getByName(PEER_REGISTRY);
    const rate = await registry.takeStrangerGrant(this.#grants.isFirstTry());
    if (!rate.ok) {
      return { ok: false, code: "federation/rate-limited", retryAfterSeconds: rate.retryAfterSeconds };
    }
    this.#grants.tried();
    const { atomId: self } = await poolKeys(this.#env);
    const opened = await openEvent(only.event);
    if (!opened.ok)
      return this.#answer([{ ok: false, content_id: only.event.content_id, code: opened.code }], from.trust);
    const arrival = await this.#received(() => this.#grants.keep(only.event, opened.event, self, policy));
    return this.#answer([arrival], from.trust);
  }

  async #received<T>(receive: () => Promise<T>): Promise<T> {
    const received = await receive();
    await this.#owner.flushPending();
    return received;
  }

  async #answer(arrivals: readonly IncomingResult[], trust: TrustLevel): Promise<Pushed> {
    const { hlc, public: head } = await this.#log().heads();
    // Of what the peer may read: the number of our whole log would tell it of our audit.
    return { ok: true, ...answerPush(arrivals, { hlc, head: mayRead("public", trust) ? head : 0 }) };
  }

  /** Charges `mostUs` before the work and, as `settle` says, what it cost after it. `Bond.admit` has refused who owes. */
  async #charged<T>(
    mostUs: number,
    work: (settle: (costUs: number) => void) => Promise<T | EndpointRefusal>,
  ): Promise<T | EndpointRefusal> {
    const admissions = this.#owner.admissions();
    let costUs = mostUs;
    admissions.chargeWork(mostUs, Date.now());
    try {
      return await work((settledUs) => {
        costUs = settledUs;
      });
    } finally {
      this.#lastCostUs = costUs;
      admissions.chargeWork(costUs - mostUs, Date.now());
    }
  }

  /** Null when our log takes events of this peer now. */
  #enough(nowMs: number): EndpointRefusal | null {
    const waitMs = this.#bringsAgainAtMs - nowMs;
    // A longer wait comes from a wall clock that stepped back.
    return waitMs <= 0 || waitMs > LIMITS.refusalKeptMs ? null : tooMany(waitMs);
  }

  #log() {
    return this.#env.EVENT_LOG.getByName(EVENT_LOG);
  }
}

function tooMany(waitMs: number): EndpointRefusal {
  const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1_000));
  return { ok: false, code: "federation/rate-limited", message: "Too many events of this peer.", retryAfterSeconds };
}
