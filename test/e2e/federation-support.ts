import { expect } from "vitest";
import {
  type Audience,
  eventBody,
  eventsPage,
  type RecordedEvent,
  type SignedEvent,
} from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { Pool } from "./scripted-peer.ts";
import { ligand, waitFor } from "./support.ts";

/** Helpers for tests of federated pools: bonds, logs, and their invariants. */

export async function openFederation(...pools: Pool[]): Promise<void> {
  for (const { admin } of pools) await admin.changeFederation({ federation: "on", allow_private_peers: true });
}

/** A public event without content. */
export const SAID = { type: "overview", visibility: "public", payload: {} } as const;

/** Bonds two pools: both admins grant 3, and both pools see it. */
export async function bond(a: Pool, b: Pool): Promise<void> {
  await a.admin.addPeer({ url: b.credentials.public_url ?? b.url, atom_id: b.credentials.atom_id });
  await a.admin.trustPeer(b.credentials.atom_id, 3);
  await b.admin.trustPeer(a.credentials.atom_id, 3);
  await waitFor(
    async () => (await a.admin.peer(b.credentials.atom_id)).effective === 3,
    15_000,
    "the bond on one side",
  );
  await waitFor(
    async () => (await b.admin.peer(a.credentials.atom_id)).effective === 3,
    15_000,
    "the bond on the other side",
  );
}

/** For both audiences: whether this pool follows the other by a stream, and serves it one. */
export async function streamsOf(pool: Pool, other: Pool): Promise<boolean[]> {
  const { sync } = await pool.admin.peer(other.credentials.atom_id);
  return sync.flatMap(({ followed, sent }) => [followed.streaming, sent.streaming]);
}

/** `streamsOf` in both directions. */
export async function streams(one: Pool, other: Pool): Promise<boolean[]> {
  return [...(await streamsOf(one, other)), ...(await streamsOf(other, one))];
}

/** The events of an audience in the pool's `EventLog`, oldest first, with their sequence numbers. */
export async function logOf(pool: Pool, audience: Audience): Promise<{ seq: number; event: SignedEvent }[]> {
  const all: { seq: number; event: SignedEvent }[] = [];
  for (let since = 0; ; ) {
    const query = `audience=${audience}&since=${since}&limit=${LIMITS.eventsPerPull}`;
    const response = await fetch(`${pool.url}/admin/api/events?${query}`, {
      headers: { authorization: `Bearer ${pool.credentials.admin_token}` },
    });
    const page = eventsPage.parse(await response.json());
    all.push(...page.events);
    if (page.next >= page.head || page.events.length === 0) return all;
    since = page.next;
  }
}

/** The whole log in D1. */
async function recordOf({ admin }: Pool): Promise<RecordedEvent[]> {
  const all: RecordedEvent[] = [];
  for (let since = 0; ; ) {
    const page = await admin.verifyEvents(since);
    if (page.events.length === 0) return all;
    all.push(...page.events);
    since = page.next;
  }
}

export const idsOf = (events: { event: SignedEvent }[]) => events.map(({ event }) => event.content_id);

export const bodyOf = ({ event }: { event: Pick<SignedEvent, "event_bytes"> }) =>
  eventBody.parse(JSON.parse(Buffer.from(event.event_bytes, "base64").toString("utf8")));

/** Checks that log and D1 agree: the same events at the same positions, none twice, and a valid chain. */
export async function expectSound(pool: Pool): Promise<string[]> {
  const [log, record] = [await logOf(pool, "all"), await recordOf(pool)];
  const ids = idsOf(log);
  expect(log.map(({ seq }) => seq)).toEqual(log.map((_, i) => i + 1));
  expect(new Set(ids).size).toBe(ids.length);
  // New events during the check come after the ones compared.
  expect(idsOf(record).slice(0, ids.length)).toEqual(ids);
  const { code, stdout, stderr } = await ligand(["events", "verify", "--json"], {
    LIGAND_POOL: pool.url,
    LIGAND_ADMIN_TOKEN: pool.credentials.admin_token,
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const verified = JSON.parse(stdout) as { ok: boolean; events: number };
  expect(verified.ok).toBe(true);
  expect(verified.events).toBeGreaterThanOrEqual(ids.length);
  return ids;
}

/** Checks that each wanted id occurs exactly once. */
export function expectOnce(ids: readonly string[], wanted: readonly string[]): void {
  const times = new Map<string, number>();
  for (const id of ids) times.set(id, (times.get(id) ?? 0) + 1);
  expect(wanted.filter((id) => times.get(id) !== 1)).toEqual([]);
}
