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
 * What must hold, said a second time and not by the rules under test: of each message when it is sent, of each event
 * when it is judged, and of all pools in the end.
 */
export class Oracle {
  readonly #pools: ReadonlyMap<string, SimPool>;
  readonly #bodies: Bodies;
  readonly #bad: ReadonlyMap<string, unknown>;
  /** What a log said that it has. */
  readonly #taken = new Map<string, Set<string>>();
  /** What a pool refused because it did not listen to that origin then. */
  readonly #passed = new Map<string, Set<string>>();
  readonly #promised = new Map<string, Set<number>>();
  readonly #givenUp = new Set<string>();
  readonly #disowned = new Set<string>();
  readonly #restored = new Set<string>();
  readonly #latestWallUs = new Map<string, number>();
  /** How often what happened: a world in which nothing does shows nothing. */
  readonly reached: Record<string, number> = {};

  constructor(pools: ReadonlyMap<string, SimPool>, bodies: Bodies, bad: ReadonlyMap<string, unknown>) {
    this.#pools = pools;
    this.#bodies = bodies;
    this.#bad = bad;
  }

  bodyOf(contentId: string): EventBody {
    const body = this.#bodies.get(contentId);
    if (!body) throw new Violation(`nobody wrote ${contentId}`);
    return body;
  }

  // ---- as it happens

  /** Each event of each message: whether its receiver may have it from its sender, by what the sender knows. */
  sends(from: string, to: string, events: readonly { event: SignedEvent; ttl: number }[]): void {
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
    const came = this.#pool(from).log.entry(contentId)?.cameWith ?? 0;
    if (came <= 0) return "it is not to be passed on";
    this.reach(`relayed with ttl ${ttl}`);
    return ttl === Math.min(came, LIMITS.eventTtl) - 1 ? null : `it came with ${came} and leaves with ${ttl}`;
  }

  judged(pool: SimPool, from: string, contentId: string, heard: boolean, following: boolean): void {
    const { atomId } = pool.identity;
    const { origin, visibility, type } = this.bodyOf(contentId);
    const level = (id: string) => pool.bonds.get(id)?.trust.granted ?? 0;
    const bonded = (id: string) => Math.min(level(id), pool.bonds.get(id)?.trust.received ?? 0) >= 3;
    const wanted =
      origin === atomId ||
      type === "trust_granted" ||
      visibility === "private" ||
      (visibility === "peers" ? bonded(origin) && bonded(from) : level(origin) >= 2 && level(from) >= 2);
    if (wanted !== heard)
      throw new Violation(`${pool.identity.name} ${heard ? "hears" : "refuses"} ${this.describe(contentId)}`);
    if (heard) return;
    this.reach("events/unknown-origin");
    if (following) this.#set(this.#passed, atomId).add(contentId);
  }

  reach(what: string): void {
    this.reached[what] = (this.reached[what] ?? 0) + 1;
  }

  /** Right after the log's commit. */
  took(pool: SimPool, from: string, arrivals: readonly IncomingResult[]): void {
    const taken = this.#set(this.#taken, pool.identity.atomId);
    for (const arrival of arrivals) {
      this.reach(arrival.ok ? arrival.outcome : arrival.code);
      if (!arrival.ok) continue;
      taken.add(arrival.content_id);
      if (arrival.outcome === "duplicate") continue;
      const { origin, visibility, hlc } = this.bodyOf(arrival.content_id);
      const ahead = hlc.physical_us - pool.wallMs * 1_000;
      const outOfTime = arrival.outcome === "held" && (ahead <= 10_000_000 || ahead > 60_000_000);
      const wrongWay = visibility !== "public" && origin !== from;
      if (outOfTime || wrongWay || origin === pool.identity.atomId) {
        throw new Violation(`${pool.identity.name} takes ${this.describe(arrival.content_id)} of ${this.nameOf(from)}`);
      }
    }
  }

  /** What a pool loses by beginning anew with a backup, nobody else will make good. */
  restores(pool: SimPool, lost: readonly string[]): void {
    const { atomId } = pool.identity;
    this.reach("restored");
    this.#restored.add(atomId);
    for (const id of lost) {
      this.#set(this.#taken, atomId).delete(id);
      const { origin, visibility } = this.bodyOf(id);
      if (visibility === "direct" && origin !== atomId) this.gaveUp(origin, atomId);
      // Others may have it; from them it is not taken back.
      if (origin === atomId) this.#disowned.add(id);
    }
    this.#passed.delete(atomId);
  }

  /** A message that only its receiver may have, and that it is to have. */
  promises(from: string, to: string, n: number): void {
    this.#set(this.#promised, `${from}>${to}`).add(n);
  }

  gaveUp(from: string, to: string): void {
    this.#givenUp.add(`${from}>${to}`);
  }

  /** Nobody here tells two stories, so nobody may be accused of it. */
  followed(pool: SimPool, peer: string, of: PeerAudience, { followed, ...step }: FollowStep): void {
    const before = pool.bond(peer).followed[of];
    const code = "code" in step ? step.code : "followed";
    this.reach(code);
    // A stream does not say of which log it is; one that was begun anew leads elsewhere.
    const explained = this.#restored.has(peer) && code === "chain-mismatch";
    const back = followed.logId === before.logId && followed.cursor.seq < before.cursor.seq;
    if (!explained && (back || !["followed", "out-of-step", "new-log", "rolled-back"].includes(code))) {
      throw new Violation(`${pool.identity.name} follows ${this.nameOf(peer)}: ${code}`);
    }
  }

  advanced({ identity }: SimPool, before: Followed, after: Followed): void {
    const elsewhere = before.logId !== after.logId || after.cursor.seq < before.cursor.seq;
    if (elsewhere)
      throw new Violation(`the cursor of ${identity.name} goes from ${before.cursor.seq} to ${after.cursor.seq}`);
  }

  acknowledged({ identity }: SimPool, before: Sent, after: Sent): void {
    if (before.logId === after.logId && after.seq < before.seq)
      throw new Violation(`${identity.name} unlearns what was acknowledged`);
  }

  /** After each step of the world. */
  watch(): void {
    for (const [atomId, { log, wallMs, identity }] of this.#pools) {
      const latestUs = Math.max(this.#latestWallUs.get(atomId) ?? 0, wallMs * 1_000);
      this.#latestWallUs.set(atomId, latestUs);
      const ahead = log.state.clock.physical_us - latestUs;
      if (ahead > LIMITS.clockHoldMs * 1_000)
        throw new Violation(`the clock of ${identity.name} was dragged ${ahead} us ahead`);
    }
  }

  // ---- in the end

  /** Null when everything is where it has to be; what is not may only need time. */
  unsettled(): string | null {
    const pools = [...this.#pools.values()];
    for (const pool of pools) {
      for (const bond of pool.bonds.values()) {
        const fault = this.#unsettledBond(pool, bond);
        if (fault) return `${pool.identity.name} and ${bond.peer.name}: ${fault}`;
      }
      if (pool.log.held.size > 0) return `${pool.identity.name} holds ${pool.log.held.size}`;
    }
    for (const pool of pools) {
      const fault = this.#lost(pool) ?? this.#broken(pool);
      if (fault) return `${pool.identity.name}: ${fault}`;
    }
    return null;
  }

  #unsettledBond(pool: SimPool, bond: SimBond): string | null {
    if (bond.untold.length > 0 || bond.queue.length > 0) return "something waits to be told";
    const { atomId } = pool.identity;
    const peer = this.#pool(bond.peer.atomId);
    const said = pool.log.entries.flatMap(({ body: { origin, payload } }) =>
      origin === atomId && payload.peer === bond.peer.atomId && payload.n !== undefined ? [payload.n] : [],
    );
    const twice = said.find((n, i) => said.indexOf(n) !== i);
    if (twice !== undefined) return `message ${twice} is in the log twice`;
    const key = `${atomId}>${bond.peer.atomId}`;
    // What was given up may have arrived all the same.
    if (!this.#givenUp.has(key)) {
      const told = new Set(peer.log.entries.flatMap(({ body }) => (body.origin === atomId ? [body.payload.n] : [])));
      const missing = [...this.#set(this.#promised, key)].find((n) => !told.has(n));
      if (missing !== undefined) return `message ${missing} was not delivered`;
      const [level, { received }] = [bond.trust.decided ?? 0, peer.bond(atomId).trust];
      if (received !== level) return `granted ${level}, and ${received} was received`;
    }
    for (const of of AUDIENCES) {
      const fault = this.#unsettledCursor(pool, bond, of);
      if (fault) return `${of}: ${fault}`;
    }
    return null;
  }

  /** `pool` follows the peer: its cursor is at the peer's head, and it has what it passed. */
  #unsettledCursor(pool: SimPool, { peer, followed, trust }: SimBond, of: PeerAudience): string | null {
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
    if (theirs.sent[of].seq !== head.seq) return `of ${head.seq}, ${theirs.sent[of].seq} are known to be there`;
    const missing = log.of(of).find(({ wire, body }) => {
      if (pool.log.has(wire.content_id) || this.#bad.has(wire.content_id)) return false;
      if (body.origin === atomId && this.#disowned.has(wire.content_id)) return false;
      const relayed = body.origin !== peer.atomId;
      return !(relayed && this.#passed.get(atomId)?.has(wire.content_id));
    });
    return missing ? `${this.describe(missing.wire.content_id)} is missing` : null;
  }

  /** What it said that it took is there, once; and nothing that may not be. */
  #lost(pool: SimPool): string | null {
    const { atomId } = pool.identity;
    const { entries } = pool.log;
    const ids = new Set(entries.map(({ wire }) => wire.content_id));
    if (ids.size !== entries.length) return "an event is there twice";
    const taken = this.#set(this.#taken, atomId);
    for (const id of taken) if (!ids.has(id)) return `${this.describe(id)} was taken, and is gone`;
    for (const { wire, body } of entries) {
      const id = wire.content_id;
      if (body.origin === atomId) continue;
      if (!taken.has(id)) return `nobody brought ${this.describe(id)}`;
      if (this.#bad.has(id)) return `${this.describe(id)} does not verify`;
      const forUs = body.visibility === "direct" && body.payload.peer === atomId;
      if (body.visibility === "private" || (body.visibility === "direct" && !forUs)) return `has ${this.describe(id)}`;
    }
    return null;
  }

  /** Numbers, chains, audiences and times of its log. */
  #broken({ identity, log }: SimPool): string | null {
    for (const of of audience.options) {
      const fault = this.#brokenChain(log.of(of), of, log.state.heads[of].chain);
      if (fault) return `${of}: ${fault}`;
    }
    let [latest, last] = [{ physical_us: 0, logical: 0 }, 0];
    let ownBefore = { physical_us: 0, logical: 0 };
    for (const { body, places, cameWith, after, wire } of log.entries) {
      const own = body.origin === identity.atomId;
      const isPublic = body.visibility === "public" && (own || (cameWith ?? 0) > 0);
      const wanted = ["all", ...(isPublic ? ["public"] : []), ...(body.visibility === "peers" && own ? ["peers"] : [])];
      if (Object.keys(places).join() !== wanted.join())
        return `${this.describe(wire.content_id)} is in ${Object.keys(places)}`;
      if (!own) continue;
      if (compare(body.hlc, ownBefore) <= 0)
        return `${this.describe(wire.content_id)} is not later than the one before`;
      ownBefore = body.hlc;
      for (; last < after; last++) {
        const known = log.entries[last]?.body.hlc ?? latest;
        if (compare(known, latest) > 0) latest = known;
      }
      if (compare(body.hlc, latest) <= 0) return `${this.describe(wire.content_id)} is not later than what was known`;
    }
    return null;
  }

  #brokenChain(entries: readonly Entry[], of: Audience, head: string): string | null {
    let chain: Uint8Array = new Uint8Array(32);
    for (const [i, { places, wire }] of entries.entries()) {
      chain = sha256(concat(chain, fromHex(wire.content_id) ?? new Uint8Array()));
      if (places[of]?.seq !== i + 1 || places[of]?.chain !== toHex(chain)) return `number ${i + 1} does not follow`;
    }
    return toHex(chain) === head ? null : "the head does not follow";
  }

  // ---- words

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
