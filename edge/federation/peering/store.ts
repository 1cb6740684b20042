import { and, asc, eq, gte, isNull, or, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { type PeerRow, peers } from "../../../schema/db/peers.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { PeerKeys } from "../signing/peer-keys.ts";

const keys = new PeerKeys();

/**
 * The 32-byte public key of a registered peer; null for an unknown pool. Both take the same time. Rejects if D1 cannot
 * be read and no keys are cached.
 */
export function findPeerKey(db: D1Database, atomId: string): Promise<Uint8Array | null> {
  const load = async () => {
    const registered = drizzle(db).select({ id: peers.id, publicKey: peers.publicKey }).from(peers);
    const rows = await registered.where(isNull(peers.removedAtMs)).all();
    return new Map(rows.map(({ id, publicKey }) => [id, publicKey]));
  };
  return keys.find(atomId, load, Date.now());
}

/**
 * Empties the key cache of this isolate. Call it when D1 has the row of a peer that was registered, removed or evicted.
 */
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

/** How many peers have a `Bond` that may have work to do. */
export function countBonds(db: D1Database): Promise<number> {
  return drizzle(db).$count(peers, hasBondWithWork(Date.now()));
}

/**
 * The atom ids of peers whose `Bond` may have work to do: `count` ids after the first `from`. New peers come last, so
 * they do not shift earlier pages.
 */
export async function bondIds(db: D1Database, from: number, count: number): Promise<string[]> {
  const bonds = drizzle(db).select({ id: peers.id }).from(peers).where(hasBondWithWork(Date.now()));
  return (await bonds.orderBy(asc(peers.addedAtMs), asc(peers.id)).limit(count).offset(from)).map(({ id }) => id);
}

/** The row of a registered peer. */
export function findPeer(db: D1Database, atomId: string): Promise<PeerRow | undefined> {
  return drizzle(db)
    .select()
    .from(peers)
    .where(and(eq(peers.id, atomId), isNull(peers.removedAtMs)))
    .get();
}

/** Whether this id is or was a peer. A removed peer counts: its `Bond` remembers the removal. */
export async function wasEverPeer(db: D1Database, atomId: string): Promise<boolean> {
  return (await drizzle(db).select({ id: peers.id }).from(peers).where(eq(peers.id, atomId)).get()) !== undefined;
}

/**
 * Which of these atom ids are registered peers. Only their `Bond`s may be woken. All ids travel in one parameter,
 * because D1 allows a hundred parameters.
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

/**
 * Peers for the molecule (docs/spec/federation.md#endpoints): registered, with at least this effective trust, and seen
 * at `sinceMs` (epoch ms) or later. The oldest first, at most `LIMITS.moleculePeers`.
 */
export function peersSeen(db: D1Database, minTrust: number, sinceMs: number): Promise<PeerRow[]> {
  return drizzle(db)
    .select()
    .from(peers)
    .where(and(gte(peers.effective, minTrust), gte(peers.seenAtMs, sinceMs), isNull(peers.removedAtMs)))
    .orderBy(asc(peers.addedAtMs))
    .limit(LIMITS.moleculePeers)
    .all();
}
