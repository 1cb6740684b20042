import { and, asc, eq, gte, isNull, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { fromHex } from "../../schema/crypto/bytes.ts";
import { type PeerRow, peers } from "../../schema/db/peers.ts";
import { LIMITS } from "../../schema/wire/limits.ts";

/** Keys that were found: the key of an id never changes, and whether it may speak its `Bond` says. */
const knownKeys = new Map<string, { key: Uint8Array; foundAtMs: number }>();
const KNOWN_KEYS_KEPT = 1_000;

/** The 32-byte key of a peer that is registered here; null for a stranger. */
export async function findPeerKey(db: D1Database, atomId: string): Promise<Uint8Array | null> {
  const nowMs = Date.now();
  const known = knownKeys.get(atomId);
  if (known && Math.abs(nowMs - known.foundAtMs) < LIMITS.peerKeyMs) return known.key;
  knownKeys.delete(atomId);
  const row = await drizzle(db)
    .select({ publicKey: peers.publicKey })
    .from(peers)
    .where(and(eq(peers.id, atomId), isNull(peers.removedAtMs)))
    .get();
  const key = row === undefined ? null : fromHex(row.publicKey);
  if (key === null) return null;
  const [oldest] = knownKeys.keys();
  if (oldest !== undefined && knownKeys.size >= KNOWN_KEYS_KEPT) knownKeys.delete(oldest);
  knownKeys.set(atomId, { key, foundAtMs: nowMs });
  return key;
}

/** Those that are registered, the oldest first. */
export function listPeers(db: D1Database): Promise<PeerRow[]> {
  return drizzle(db).select().from(peers).where(isNull(peers.removedAtMs)).orderBy(asc(peers.addedAtMs)).all();
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

/** For the molecule (SPEC 3.1): at this trust or above, and seen since. */
export function peersSeen(db: D1Database, minTrust: number, sinceMs: number): Promise<PeerRow[]> {
  return drizzle(db)
    .select()
    .from(peers)
    .where(and(gte(peers.effective, minTrust), gte(peers.seenAtMs, sinceMs), isNull(peers.removedAtMs)))
    .orderBy(asc(peers.addedAtMs))
    .limit(LIMITS.moleculePeers)
    .all();
}

/** A stranger who made room for another leaves nothing. */
export async function forgetPeer(db: D1Database, atomId: string): Promise<void> {
  await drizzle(db).delete(peers).where(eq(peers.id, atomId)).run();
  knownKeys.delete(atomId);
}
