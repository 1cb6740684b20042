import { and, asc, eq, gte, isNull, or, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { type PeerRow, peers } from "../../../schema/db/peers.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { PeerKeys } from "../signing/peer-keys.ts";

const keys = new PeerKeys();

/** The 32-byte key of a registered peer; null for a stranger. Both cost the same. */
export function findPeerKey(db: D1Database, atomId: string): Promise<Uint8Array | null> {
  const load = async () => {
    const registered = drizzle(db).select({ id: peers.id, publicKey: peers.publicKey }).from(peers);
    const rows = await registered.where(isNull(peers.removedAtMs)).all();
    return new Map(rows.map(({ id, publicKey }) => [id, publicKey]));
  };
  return keys.find(atomId, load, Date.now());
}

/** Call it when D1 has the row: a peer was registered, removed or evicted. */
export function peersChanged(): void {
  keys.changed();
}

/** The registered peers, the oldest first. */
export function listPeers(db: D1Database): Promise<PeerRow[]> {
  return drizzle(db).select().from(peers).where(isNull(peers.removedAtMs)).orderBy(asc(peers.addedAtMs)).all();
}

/** Registered peers, and peers removed so recently that a delivery to them may be pending. */
function hasBondWithWork(nowMs: number) {
  return or(isNull(peers.removedAtMs), gte(peers.removedAtMs, nowMs - LIMITS.tombstoneWorkMs));
}

/** Peers whose `Bond` may have work to do. */
export function countBonds(db: D1Database): Promise<number> {
  return drizzle(db).$count(peers, hasBondWithWork(Date.now()));
}

/** Their ids, in an order that new peers do not change. */
export async function bondIds(db: D1Database, from: number, count: number): Promise<string[]> {
  const bonds = drizzle(db).select({ id: peers.id }).from(peers).where(hasBondWithWork(Date.now()));
  return (await bonds.orderBy(asc(peers.addedAtMs), asc(peers.id)).limit(count).offset(from)).map(({ id }) => id);
}

export function findPeer(db: D1Database, atomId: string): Promise<PeerRow | undefined> {
  return drizzle(db)
    .select()
    .from(peers)
    .where(and(eq(peers.id, atomId), isNull(peers.removedAtMs)))
    .get();
}

/** Whether the pool has a `Bond` for this id. A removed peer has one, its tombstone. */
export async function wasEverPeer(db: D1Database, atomId: string): Promise<boolean> {
  return (await drizzle(db).select({ id: peers.id }).from(peers).where(eq(peers.id, atomId)).get()) !== undefined;
}

/**
 * Those of the ids that are registered here. Only their `Bond`s may be woken. One parameter holds all ids, because D1 allows
 * a hundred parameters.
 */
export async function knownAmong(db: D1Database, atomIds: readonly string[]): Promise<Set<string>> {
  if (atomIds.length === 0) return new Set();
  const rows = await drizzle(db)
    .select({ id: peers.id })
    .from(peers)
    .where(
      and(sql`${peers.id} IN (SELECT value FROM json_each(${JSON.stringify(atomIds)}))`, isNull(peers.removedAtMs)),
    )
    .all();
  return new Set(rows.map(({ id }) => id));
}

/** Peers for the molecule (docs/spec/federation.md#endpoints): with at least this trust, and seen since then. */
export function peersSeen(db: D1Database, minTrust: number, sinceMs: number): Promise<PeerRow[]> {
  return drizzle(db)
    .select()
    .from(peers)
    .where(and(gte(peers.effective, minTrust), gte(peers.seenAtMs, sinceMs), isNull(peers.removedAtMs)))
    .orderBy(asc(peers.addedAtMs))
    .limit(LIMITS.moleculePeers)
    .all();
}
