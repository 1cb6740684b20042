import { compare } from "../../edge/events/clock-rules.ts";
import type { Followed, FollowStep } from "../../edge/federation/sync/followed-log-rules.ts";
import type { IncomingResult } from "../../edge/federation/sync/incoming-rules.ts";
import type { Sent } from "../../edge/federation/sync/push-rules.ts";
import { concat, fromHex, toHex } from "../../schema/crypto/bytes.ts";
import {
  type Audience,
  audience,
  type EventBody,
  type PeerAudience,
  type SignedEvent,
} from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { type Bodies, type Entry, sha256 } from "./log.ts";
import { AUDIENCES, type SimBond, type SimPool } from "./pool.ts";

export class Violation extends Error {}

/**
 * Checks what must hold, without the rules under test: each message when it is sent, each event when it is judged, and all
 * pools at the end.
 */
export class Oracle {
  readonly #pools: ReadonlyMap<string, SimPool>;
  readonly #bodies: Bodies;
  readonly #bad: ReadonlyMap<string, unknown>;
  /** The events that each log has confirmed. */
  readonly #confirmed = new Map<string, Set<string>>();
  /** The events that each pool refused because it did not trust their origin at that time. */
  readonly #refusedOrigins = new Map<string, Set<string>>();
  readonly #expected = new Map<string, Set<number>>();
  readonly #givenUp = new Set<string>();
  readonly #disowned = new Set<string>();
  readonly #restored = new Set<string>();
  readonly #latestWallUs = new Map<string, number>();
  /** How often each thing happened. A world without events proves nothing. */
  readonly reached: Record<string, number> = {};

  constructor(pools: ReadonlyMap<string, SimPool>, bodies: Bodies, bad: ReadonlyMap<string, unknown>) {
    this.#pools = pools;
    this.#bodies = bodies;
    this.#bad = bad;
  }

  bodyOf(contentId: string): EventBody {
    const body = this.#bodies.get(contentId);
    if (!body) throw new Violation(`no pool has written ${contentId}`);
    return body;
  }

  // ---- during the run

  /** Checks each event of a message: by what the sender knows, the receiver may have it from the sender. */
  checkSent(from: string, to: string, events: readonly { event: SignedEvent; ttl: number }[]): void {
    for (const { event, ttl } of events) {
      const body = this.bodyOf(event.content_id);
      const fault = this.#leak(from, to, body, ttl, event.content_id);
      if (fault)
        throw new Violation(
          `${this.nameOf(from)} sends ${this.nameOf(to)} ${this.describe(event.content_id)}: ${fault}`,
        );
    }
  }

  #leak(from: string, to: string, body: EventBody, ttl: number, contentId: string): string | null {
    const { granted, received } = this.#bond(from, to).trust;
    const own = body.origin === from;
    if (body.visibility === "private") return "it is private";
    if (body.visibility === "direct") return own && body.payload.peer === to ? null : "it is for another";
    if (body.visibility === "peers") return own && granted >= 3 && received >= 3 ? null : "they are not bonded";
    if (granted < 2) return "it is granted too little";
    if (own) return ttl === LIMITS.eventTtl ? null : `its ttl is ${ttl}`;
    const incomingTtl = this.#pool(from).log.entry(contentId)?.incomingTtl ?? 0;
    if (incomingTtl <= 0) return "it is not to be passed on";
    this.count(`relayed with ttl ${ttl}`);
    return ttl === Math.min(incomingTtl, LIMITS.eventTtl) - 1
      ? null
      : `it arrived with ttl ${incomingTtl} and leaves with ttl ${ttl}`;
  }

  checkJudgement(pool: SimPool, from: string, contentId: string, accepted: boolean, following: boolean): void {
    const { atomId } = pool.identity;
    const { origin, visibility, type } = this.bodyOf(contentId);
    const level = (id: string) => pool.bonds.get(id)?.trust.granted ?? 0;
    const bonded = (id: string) => Math.min(level(id), pool.bonds.get(id)?.trust.received ?? 0) >= 3;
    const wanted =
      origin === atomId ||
      type === "trust_granted" ||
      visibility === "private" ||
      (visibility === "peers" ? bonded(origin) && bonded(from) : level(origin) >= 2 && level(from) >= 2);
    if (wanted !== accepted)
      throw new Violation(`${pool.identity.name} ${accepted ? "accepts" : "refuses"} ${this.describe(contentId)}`);
    if (accepted) return;
    this.count("events/unknown-origin");
    if (following) this.#set(this.#refusedOrigins, atomId).add(contentId);
  }

  count(what: string): void {
    this.reached[what] = (this.reached[what] ?? 0) + 1;
  }

  /** Call right after the commit of the log. */
  checkTaken(pool: SimPool, from: string, results: readonly IncomingResult[]): void {
    const taken = this.#set(this.#confirmed, pool.identity.atomId);
    for (const result of results) {
      this.count(result.ok ? result.outcome : result.code);
      if (!result.ok) continue;
      taken.add(result.content_id);
      if (result.outcome === "duplicate") continue;
      const { origin, visibility, hlc } = this.bodyOf(result.content_id);
      const ahead = hlc.physical_us - pool.wallMs * 1_000;
      const outOfTime = result.outcome === "held" && (ahead <= 10_000_000 || ahead > 60_000_000);
      const wrongWay = visibility !== "public" && origin !== from;
      if (outOfTime || wrongWay || origin === pool.identity.atomId) {
        throw new Violation(`${pool.identity.name} takes ${this.describe(result.content_id)} of ${this.nameOf(from)}`);
      }
    }
  }

  /** No other pool replaces what a pool loses when it is restored from a backup. */
  noteRestored(pool: SimPool, lost: readonly string[]): void {
    const { atomId } = pool.identity;
    this.count("restored");
    this.#restored.add(atomId);
    for (const id of lost) {
      this.#set(this.#confirmed, atomId).delete(id);
      const { origin, visibility } = this.bodyOf(id);
      if (visibility === "direct" && origin !== atomId) this.noteGivenUp(origin, atomId);
      // Other pools may have it, but the pool does not take its own events from them.
      if (origin === atomId) this.#disowned.add(id);
    }
    this.#refusedOrigins.delete(atomId);
  }

  /** The receiver must get this message, and no other pool may. */
  expectMessage(from: string, to: string, n: number): void {
    this.#set(this.#expected, `${from}>${to}`).add(n);
  }

  noteGivenUp(from: string, to: string): void {
    this.#givenUp.add(`${from}>${to}`);
  }

  /** No pool here shows two histories, so no pool may be accused of it. */
  checkFollowed(pool: SimPool, peer: string, of: PeerAudience, { followed, ...step }: FollowStep): void {
    const before = pool.bond(peer).followed[of];
    const code = "code" in step ? step.code : "followed";
    this.count(code);
    // A stream does not give the name of its log. After a restore it belongs to another log.
    const explained = this.#restored.has(peer) && code === "chain-mismatch";
    const back = followed.logId === before.logId && followed.cursor.seq < before.cursor.seq;
    if (!explained && (back || !["followed", "out-of-step", "new-log", "rolled-back"].includes(code))) {
      throw new Violation(`${pool.identity.name} follows ${this.nameOf(peer)}: ${code}`);
    }
  }

  checkAdvanced({ identity }: SimPool, before: Followed, after: Followed): void {
    const elsewhere = before.logId !== after.logId || after.cursor.seq < before.cursor.seq;
    if (elsewhere)
      throw new Violation(`the cursor of ${identity.name} goes from ${before.cursor.seq} to ${after.cursor.seq}`);
  }

  checkAcknowledged({ identity }: SimPool, before: Sent, after: Sent): void {
    if (before.logId === after.logId && after.seq < before.seq)
      throw new Violation(`${identity.name} forgets what was acknowledged`);
  }

  /** Call after each step of the world. */
  checkClocks(): void {
    for (const [atomId, { log, wallMs, identity }] of this.#pools) {
      const latestUs = Math.max(this.#latestWallUs.get(atomId) ?? 0, wallMs * 1_000);
      this.#latestWallUs.set(atomId, latestUs);
      const ahead = log.state.clock.physical_us - latestUs;
      if (ahead > LIMITS.clockHoldMs * 1_000)
        throw new Violation(`the clock of ${identity.name} was dragged ${ahead} us ahead`);
    }
  }

  // ---- at the end

  /** Null: all pools have converged. A difference may only need more time. */
  notConverged(): string | null {
    const pools = [...this.#pools.values()];
    for (const pool of pools) {
      for (const bond of pool.bonds.values()) {
        const fault = this.#bondFault(pool, bond);
        if (fault) return `${pool.identity.name} and ${bond.peer.name}: ${fault}`;
      }
      if (pool.log.held.size > 0) return `${pool.identity.name} holds ${pool.log.held.size}`;
    }
    for (const pool of pools) {
      const fault = this.#contentFault(pool) ?? this.#logFault(pool);
      if (fault) return `${pool.identity.name}: ${fault}`;
    }
    return null;
  }

  #bondFault(pool: SimPool, bond: SimBond): string | null {
    if (bond.pending.length > 0 || bond.queue.length > 0) return "something is still pending";
    const { atomId } = pool.identity;
    const peer = this.#pool(bond.peer.atomId);
    const sentNumbers = pool.log.entries.flatMap(({ body: { origin, payload } }) =>
      origin === atomId && payload.peer === bond.peer.atomId && payload.n !== undefined ? [payload.n] : [],
    );
    const twice = sentNumbers.find((n, i) => sentNumbers.indexOf(n) !== i);
    if (twice !== undefined) return `message ${twice} is in the log twice`;
    const key = `${atomId}>${bond.peer.atomId}`;
    // A message that was given up may have arrived.
    if (!this.#givenUp.has(key)) {
      const receivedNumbers = new Set(
        peer.log.entries.flatMap(({ body }) => (body.origin === atomId ? [body.payload.n] : [])),
      );
      const missing = [...this.#set(this.#expected, key)].find((n) => !receivedNumbers.has(n));
      if (missing !== undefined) return `message ${missing} was not delivered`;
      const [level, { received }] = [bond.trust.decided ?? 0, peer.bond(atomId).trust];
      if (received !== level) return `granted ${level}, and ${received} was received`;
    }
    for (const of of AUDIENCES) {
      const fault = this.#cursorFault(pool, bond, of);
      if (fault) return `${of}: ${fault}`;
    }
    return null;
  }

  /** Where `pool` follows the peer: its cursor is at the head of the peer's log, and it has every event up to there. */
  #cursorFault(pool: SimPool, { peer, followed, trust }: SimBond, of: PeerAudience): string | null {
    const { log, bonds } = this.#pool(peer.atomId);
    const { atomId } = pool.identity;
    const theirs = bonds.get(atomId);
    if (!theirs) return "not known";
    const least = of === "public" ? 2 : 3;
    const bonded = of === "public" || (trust.received >= 3 && theirs.trust.received >= 3);
    if (trust.granted < least || trust.received < least || theirs.trust.granted < least || !bonded) return null;
    const { cursor, verified, logId } = followed[of];
    const head = log.state.heads[of];
    if (logId !== log.state.logId || cursor.seq !== head.seq || cursor.chain !== head.chain) {
      return `the cursor is at ${cursor.seq} of ${head.seq}`;
    }
    if (verified?.checkpoint.seq !== head.seq) return "the head is not verified";
    if (theirs.sent[of].seq !== head.seq)
      return `the peer knows of ${theirs.sent[of].seq} of its ${head.seq} events here`;
    const missing = log.of(of).find(({ wire, body }) => {
      if (pool.log.has(wire.content_id) || this.#bad.has(wire.content_id)) return false;
      if (body.origin === atomId && this.#disowned.has(wire.content_id)) return false;
      const relayed = body.origin !== peer.atomId;
      return !(relayed && this.#refusedOrigins.get(atomId)?.has(wire.content_id));
    });
    return missing ? `${this.describe(missing.wire.content_id)} is missing` : null;
  }

  /** Every confirmed event is in the log once, and no event that the pool must not have. */
  #contentFault(pool: SimPool): string | null {
    const { atomId } = pool.identity;
    const { entries } = pool.log;
    const ids = new Set(entries.map(({ wire }) => wire.content_id));
    if (ids.size !== entries.length) return "an event is there twice";
    const taken = this.#set(this.#confirmed, atomId);
    for (const id of taken) if (!ids.has(id)) return `${this.describe(id)} was confirmed, and is gone`;
    for (const { wire, body } of entries) {
      const id = wire.content_id;
      if (body.origin === atomId) continue;
      if (!taken.has(id)) return `no peer has sent ${this.describe(id)}`;
      if (this.#bad.has(id)) return `${this.describe(id)} does not verify`;
      const forUs = body.visibility === "direct" && body.payload.peer === atomId;
      if (body.visibility === "private" || (body.visibility === "direct" && !forUs)) return `has ${this.describe(id)}`;
    }
    return null;
  }

  /** Checks the numbers, chains, audiences and times of the log. */
  #logFault({ identity, log }: SimPool): string | null {
    for (const of of audience.options) {
      const fault = this.#chainFault(log.of(of), of, log.state.heads[of].chain);
      if (fault) return `${of}: ${fault}`;
    }
    let [latest, last] = [{ physical_us: 0, logical: 0 }, 0];
    let ownBefore = { physical_us: 0, logical: 0 };
    for (const { body, places, incomingTtl, knownEvents, wire } of log.entries) {
      const own = body.origin === identity.atomId;
      const isPublic = body.visibility === "public" && (own || (incomingTtl ?? 0) > 0);
      const wanted = ["all", ...(isPublic ? ["public"] : []), ...(body.visibility === "peers" && own ? ["peers"] : [])];
      if (Object.keys(places).join() !== wanted.join())
        return `${this.describe(wire.content_id)} is in ${Object.keys(places)}`;
      if (!own) continue;
      if (compare(body.hlc, ownBefore) <= 0)
        return `${this.describe(wire.content_id)} is not later than the one before`;
      ownBefore = body.hlc;
      for (; last < knownEvents; last++) {
        const known = log.entries[last]?.body.hlc ?? latest;
        if (compare(known, latest) > 0) latest = known;
      }
      if (compare(body.hlc, latest) <= 0) return `${this.describe(wire.content_id)} is not later than what was known`;
    }
    return null;
  }

  #chainFault(entries: readonly Entry[], of: Audience, head: string): string | null {
    let chain: Uint8Array = new Uint8Array(32);
    for (const [i, { places, wire }] of entries.entries()) {
      chain = sha256(concat(chain, fromHex(wire.content_id) ?? new Uint8Array()));
      if (places[of]?.seq !== i + 1 || places[of]?.chain !== toHex(chain)) return `number ${i + 1} does not follow`;
    }
    return toHex(chain) === head ? null : "the head does not follow";
  }

  // ---- descriptions

  describe(contentId: string): string {
    const { origin, visibility, type, payload } = this.bodyOf(contentId);
    return `${visibility} ${type} ${JSON.stringify({ ...payload, peer: this.#pools.get(String(payload.peer))?.identity.name })} of ${this.nameOf(origin)}`;
  }

  nameOf(atomId: string): string {
    return this.#pool(atomId).identity.name;
  }

  #pool(atomId: string): SimPool {
    const pool = this.#pools.get(atomId);
    if (!pool) throw new Violation(`there is no pool ${atomId}`);
    return pool;
  }

  #bond(of: string, peer: string): SimBond {
    return this.#pool(of).bond(peer);
  }

  #set<T>(of: Map<string, Set<T>>, key: string): Set<T> {
    const found = of.get(key) ?? new Set<T>();
    of.set(key, found);
    return found;
  }
}
