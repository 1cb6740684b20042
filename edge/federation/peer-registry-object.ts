import { DurableObject } from "cloudflare:workers";
import type { Env } from "../env.ts";
import {
  confirmRegistration,
  type LowTrustPeer,
  NO_REGISTRATIONS,
  type RegistrationStep,
  type Registrations,
  roomForStranger,
  type UsedChallenge,
} from "./registration.ts";

/** What of each peer is counted by. */
export interface Member {
  atomId: string;
  granted: number;
  addedAtMs: number;
  keptByAdmin: boolean;
}

export type Entry =
  | { ok: true; evict: string | null; isNew: boolean }
  | Exclude<RegistrationStep, { ok: true }>
  | { ok: false; code: "federation/too-many-peers" };

/**
 * One object per pool: how many peers there are, and how fast strangers become some (SPEC 3.4). It is woken only for
 * who has proved a key to us, or by our admin; what concerns one peer alone is its `Bond`'s.
 */
export class PeerRegistry extends DurableObject<Env> {
  #registrations: Registrations;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec(
      `CREATE TABLE IF NOT EXISTS members (atom_id TEXT PRIMARY KEY, granted INTEGER NOT NULL,
        added_at_ms INTEGER NOT NULL, kept_by_admin INTEGER NOT NULL) WITHOUT ROWID`,
    );
    this.#registrations = ctx.storage.kv.get<Registrations>("registrations") ?? NO_REGISTRATIONS;
  }

  /** A proven stranger asks to come in. Uses up the challenge; says who has to go, and counts the newcomer at once. */
  enter(atomId: string, challenge: UsedChallenge): Entry {
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
      if (room.evict !== null) this.#delete(room.evict);
      if (!known) this.#put({ atomId, granted: 1, addedAtMs: nowMs, keptByAdmin: false });
      return { ok: true, evict: room.evict, isNew: !known };
    });
  }

  /**
   * Room for one more of trust 2, taken at once: two admins' words at a time share no place. What the peer's `Bond`
   * makes of it, it notes. 0 is without limit.
   */
  claim(atomId: string, maxPeers: number): boolean {
    const members = this.#members();
    const known = members.find((member) => member.atomId === atomId);
    if (known !== undefined && known.granted >= 2) return true;
    if (maxPeers !== 0 && members.filter(({ granted }) => granted >= 2).length >= maxPeers) return false;
    this.#put({ atomId, addedAtMs: Date.now(), keptByAdmin: false, ...known, granted: 2 });
    return true;
  }

  /** Told by a peer's `Bond` when it has changed. */
  note(member: Member): void {
    this.#put(member);
  }

  forget(atomId: string): void {
    this.#delete(atomId);
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
}

const isLow = (member: Member): member is Member & LowTrustPeer => member.granted <= 1;
