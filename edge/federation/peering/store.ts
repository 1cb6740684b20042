import { and, asc, eq, gte, isNull, or, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { type PeerRow, peers } from "../../../schema/db/peers.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { PeerKeys } from "../signing/peer-keys.ts";

const keys = new PeerKeys();

/** The 32-byte key of a peer that is registered here; null for a stranger, who costs the same. */
export function findPeerKey(db: D1Database, atomId: string): Promise<Uint8Array | null> {
  const load = async () => {
    const registered = drizzle(db).select({ id: peers.id, publicKey: peers.publicKey }).from(peers);
    const rows = await registered.where(isNull(peers.removedAtMs)).all();
    return new Map(rows.map(({ id, publicKey }) => [id, publicKey]));
  };
  return keys.find(atomId, load, Date.now());
}

/** Once the record has it: a peer was registered here, or is so no more. */
export function peersChanged(): void {
  keys.changed();
}

/** Those that are registered, the oldest first. */
export function listPeers(db: D1Database): Promise<PeerRow[]> {
  return drizzle(db).select().from(peers).where(isNull(peers.removedAtMs)).orderBy(asc(peers.addedAtMs)).all();
}

/** Registered, or removed so lately that there may be something left to tell them. */
function hasBondWithWork(nowMs: number) {
  return or(isNull(peers.removedAtMs), gte(peers.removedAtMs, nowMs - LIMITS.tombstoneWorkMs));
}

/** Whose `Bond` may have something to do. */
export function countBonds(db: D1Database): Promise<number> {
  return drizzle(db).$count(peers, hasBondWithWork(Date.now()));
}

/** The ids of those, in an order that newcomers do not change for the others. */
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

/** Whether there is a `Bond` of it: of a removed peer too, whose tombstone it is. */
export async function wasEverPeer(db: D1Database, atomId: string): Promise<boolean> {
  return (await drizzle(db).select({ id: peers.id }).from(peers).where(eq(peers.id, atomId)).get()) !== undefined;
}

/** One parameter for any number of ids: D1 takes a hundred. Which of these ids are registered here: only their `Bond`s may be woken. */
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

/** For the molecule (docs/spec/federation.md#endpoints): at this trust or above, and seen since. */
export function peersSeen(db: D1Database, minTrust: number, sinceMs: number): Promise<PeerRow[]> {
  return drizzle(db)
    .select()
    .from(peers)
    .where(and(gte(peers.effective, minTrust), gte(peers.seenAtMs, sinceMs), isNull(peers.removedAtMs)))
    .orderBy(asc(peers.addedAtMs))
    .limit(LIMITS.moleculePeers)
    .all();
}
