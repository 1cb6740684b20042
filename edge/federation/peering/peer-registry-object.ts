import { DurableObject } from "cloudflare:workers";
import type { Env } from "../../env.ts";
import type { CellStep } from "../../limits/gcra-rules.ts";
import type { Census, Member, PeerRegistryRpc, PeerStatus, RegistryEntry } from "./peer-registry-rpc.ts";
import {
  confirmRegistration,
  type LowTrustPeer,
  NO_REGISTRATIONS,
  type Registrations,
  roomForStranger,
  type UsedChallenge,
} from "./registration-rules.ts";
import { takeStrangerGrant } from "./stranger-rate-rules.ts";

/**
 * One object per pool. It counts the peers of the pool and limits how fast strangers may become peers
 * (docs/spec/federation.md#registration). Only our admin and pools that have proved a key wake it. The state of a single
 * peer is in its `Bond`.
 */
export class PeerRegistry extends DurableObject<Env> implements PeerRegistryRpc {
  #registrations: Registrations;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec(
      `CREATE TABLE IF NOT EXISTS members (atom_id TEXT PRIMARY KEY, granted INTEGER NOT NULL,
        added_at_ms INTEGER NOT NULL, kept_by_admin INTEGER NOT NULL) WITHOUT ROWID`,
    );
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS standings (atom_id TEXT PRIMARY KEY, standing TEXT NOT NULL) WITHOUT ROWID",
    );
    this.#registrations = ctx.storage.kv.get<Registrations>("registrations") ?? NO_REGISTRATIONS;
  }

  /**
   * Registers a stranger that has proved its key. Uses up its challenge and counts it immediately. `evict`: the peer
   * that must be deleted to make room; null if there is room.
   */
  register(atomId: string, challenge: UsedChallenge): RegistryEntry {
    const nowMs = Date.now();
    return this.ctx.storage.transactionSync(() => {
      const step = confirmRegistration(this.#registrations, challenge, nowMs);
      if (!step.ok) return step;
      const members = this.#members();
      const known = members.some((member) => member.atomId === atomId);
      const room = known ? ({ ok: true, evict: null } as const) : roomForStranger(members.filter(isLow));
      if (!room.ok) return room;
      this.#registrations = step.registrations;
      this.ctx.storage.kv.put("registrations", step.registrations);
      if (room.evict !== null) this.forget(room.evict);
      if (!known) this.#put({ atomId, granted: 1, addedAtMs: nowMs, keptByAdmin: false });
      return { ok: true, evict: room.evict, isNew: !known };
    });
  }

  /**
   * Claims a place among `maxPeers` for a peer that reaches trust 2; 0 means no limit. The place is taken immediately,
   * so that two simultaneous decisions cannot share one. Afterwards the peer's `Bond` reports the trust that it stored.
   */
  claimPlace(atomId: string, maxPeers: number): boolean {
    const members = this.#members();
    const known = members.find((member) => member.atomId === atomId);
    if (known !== undefined && known.granted >= 2) return true;
    if (maxPeers !== 0 && members.filter(({ granted }) => granted >= 2).length >= maxPeers) return false;
    this.#put({ atomId, addedAtMs: Date.now(), keptByAdmin: false, ...known, granted: 2 });
    return true;
  }

  /**
   * Counts one grant of a peer below trust 2, or refuses it. `isFirst`: the peer's first try. The rate is not stored
   * per peer: a peer that was evicted and registers again has another first try, at the same shared rate.
   */
  takeStrangerGrant(isFirst: boolean): CellStep {
    const { kv } = this.ctx.storage;
    const step = takeStrangerGrant(kv.get<number>("strangerGrantsPaidAtMs") ?? 0, isFirst, Date.now());
    if (step.ok) kv.put("strangerGrantsPaidAtMs", step.paidAtMs);
    return step;
  }

  /** Stores what the `Bond` of a peer reports after a change. */
  note(member: Member, status: PeerStatus): void {
    this.ctx.storage.transactionSync(() => {
      this.#put(member);
      this.#saveStatus(member.atomId, status);
    });
  }

  /** Call for a removed peer: it no longer counts. Its `Bond` still reports what is left to deliver. */
  leave(atomId: string, status: PeerStatus): void {
    const { deliveries, untold, records } = status;
    this.ctx.storage.transactionSync(() => {
      this.#saveStatus(atomId, status);
      this.#delete(atomId);
      const left = deliveries + untold + records.waiting + records.refused;
      // Keep the status of a bond that gave up messages: without it the next report would count them again.
      if (left + status.givenUp === 0) this.#deleteStatus(atomId);
    });
  }

  /** Forgets the peer, as if it had never registered. */
  forget(atomId: string): void {
    this.#delete(atomId);
    this.#deleteStatus(atomId);
  }

  /** Adds refused requests, which each isolate counts and reports. */
  countRefusals(refusals: ReadonlyMap<string, number>): void {
    const refused = { ...this.#refused() };
    for (const [reason, n] of refusals) refused[reason] = (refused[reason] ?? 0) + n;
    this.ctx.storage.kv.put("refused", refused);
  }

  census(): Census {
    const rows = this.ctx.storage.sql.exec<{ atom_id: string; standing: string; is_member: number }>(
      "SELECT atom_id, standing, atom_id IN (SELECT atom_id FROM members) AS is_member FROM standings",
    );
    const statuses = [...rows].map((row) => ({
      atomId: row.atom_id,
      isMember: row.is_member === 1,
      ...(JSON.parse(row.standing) as PeerStatus),
    }));
    return takeCensus(statuses, this.#givenUp(), this.#refused());
  }

  /** The status of each peer, by its atom id. */
  statuses(): Record<string, PeerStatus> {
    const rows = this.ctx.storage.sql.exec<{ atom_id: string; standing: string }>("SELECT * FROM standings");
    return Object.fromEntries([...rows].map((row) => [row.atom_id, JSON.parse(row.standing) as PeerStatus]));
  }

  #saveStatus(atomId: string, status: PeerStatus): void {
    const { kv, sql } = this.ctx.storage;
    const [row] = sql.exec<{ standing: string }>("SELECT standing FROM standings WHERE atom_id = ?", atomId);
    const before = row === undefined ? 0 : (JSON.parse(row.standing) as PeerStatus).givenUp;
    // The count of a bond restarts at zero when the bond was forgotten.
    const more = status.givenUp - (status.givenUp < before ? 0 : before);
    if (more > 0) kv.put("givenUp", this.#givenUp() + more);
    sql.exec("INSERT OR REPLACE INTO standings VALUES (?, ?)", atomId, JSON.stringify(status));
  }

  #givenUp(): number {
    return this.ctx.storage.kv.get<number>("givenUp") ?? 0;
  }

  #refused(): Record<string, number> {
    return this.ctx.storage.kv.get<Record<string, number>>("refused") ?? {};
  }

  #members(): Member[] {
    const rows = this.ctx.storage.sql.exec<{
      atom_id: string;
      granted: number;
      added_at_ms: number;
      kept_by_admin: number;
    }>("SELECT atom_id, granted, added_at_ms, kept_by_admin FROM members");
    return [...rows].map((row) => ({
      atomId: row.atom_id,
      granted: row.granted,
      addedAtMs: row.added_at_ms,
      keptByAdmin: row.kept_by_admin === 1,
    }));
  }

  #put({ atomId, granted, addedAtMs, keptByAdmin }: Member): void {
    this.ctx.storage.sql.exec(
      "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?)",
      atomId,
      granted,
      addedAtMs,
      keptByAdmin ? 1 : 0,
    );
  }

  #delete(atomId: string): void {
    this.ctx.storage.sql.exec("DELETE FROM members WHERE atom_id = ?", atomId);
  }

  #deleteStatus(atomId: string): void {
    this.ctx.storage.sql.exec("DELETE FROM standings WHERE atom_id = ?", atomId);
  }
}

function takeCensus(
  statuses: readonly (PeerStatus & { atomId: string; isMember: boolean })[],
  givenUp: number,
  refused: Record<string, number>,
): Census {
  const census: Census = {
    trust: { 0: 0, 1: 0, 2: 0, 3: 0 },
    circuits: { closed: 0, "half-open": 0, open: 0 },
    deliveries: 0,
    givenUp,
    untold: 0,
    records: { waiting: 0, refused: 0 },
    behind: { public: 0, peers: 0 },
    unfollowable: statuses.filter((each) => each.isMember && each.isUnfollowable).map(({ atomId }) => atomId),
    refused,
  };
  for (const { isMember, effective, circuit, deliveries, untold, records, behind } of statuses) {
    if (isMember) {
      census.trust[effective === 4 ? 3 : effective] += 1;
      census.circuits[circuit] += 1;
    }
    census.deliveries += deliveries;
    census.untold += untold;
    census.records.waiting += records.waiting;
    census.records.refused += records.refused;
    census.behind.public += behind.public;
    census.behind.peers += behind.peers;
  }
  return census;
}

const isLow = (member: Member): member is Member & LowTrustPeer => member.granted <= 1;
