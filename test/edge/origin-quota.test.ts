import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { isQuotaSpent, rowBytes } from "../../edge/events/origin-quota-rules.ts";
import { OriginUsage } from "../../edge/events/origin-usage.ts";
import type { SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { freshPool, type PeerDouble, peerAt, setPolicy } from "./peer-double.ts";
import { admin, ask, eventually } from "./support.ts";

/** How much of the log the events of one origin may fill, whichever peer sends them. */

const MIB = 1024 ** 2;
beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool();
});
beforeEach(async () => {
  vi.setSystemTime(Date.now() + 60_000);
  await setPolicy({ origin_quota_mib: 1 });
});
afterAll(() => vi.useRealTimers());

/** A test changed the count of this peer. */
let forged: string;
const log = () => env.EVENT_LOG.getByName("pool");
const large = (peer: PeerDouble) => peer.event({ payload: { filler: "x".repeat(60_000) } });
/** More than 1 MiB, pushed in bodies of less than that. */
async function fill(peer: PeerDouble, by: PeerDouble): Promise<{ kept: SignedEvent[]; codes: string[] }> {
  const found = { kept: [] as SignedEvent[], codes: [] as string[] };
  for (let i = 0; i < 16; i++) {
    const event = await large(peer);
    const { accepted, errors } = await by.pushed([event]);
    if (accepted === 1) found.kept.push(event);
    found.codes.push(...errors.map(({ code }) => code));
  }
  return found;
}
const use = async (peer: PeerDouble) => (await log().origins()).find(({ atomId }) => atomId === peer.id);

describe("the quota of an origin", () => {
  it("is used by the origin's events in the log, whichever peer sent them, and does not affect other origins", async () => {
    const [origin, carrier] = [await peerAt(2), await peerAt(2)];
    const { kept, codes } = await fill(origin, carrier);
    expect(new Set(codes)).toEqual(new Set(["events/quota-spent"]));
    expect(kept.length + codes.length).toBe(16);
    const bytes = kept.reduce((sum, event) => sum + rowBytes(event), 0);
    expect(await use(origin)).toEqual({ atomId: origin.id, events: kept.length, bytes });
    expect(bytes).toBeLessThanOrEqual(MIB);
    expect(bytes + rowBytes(await large(origin))).toBeGreaterThan(MIB);
    expect((await origin.pushed(kept.slice(0, 1))).duplicates, "a known event uses no quota").toBe(1);
    expect(await carrier.pushed([await large(carrier)])).toMatchObject({ accepted: 1 });
    expect((await origin.pushed([await large(origin)])).errors[0]?.code).toBe("events/quota-spent");
    await setPolicy({ origin_quota_mib: 2 });
    expect(await origin.pushed([await large(origin)])).toMatchObject({ accepted: 1 });
    await setPolicy({ origin_quota_mib: 0 });
    expect((await fill(origin, origin)).codes).toEqual([]);
  });

  it("that is spent keeps grants out of the log, and a withdrawal still takes effect", async () => {
    const peer = await peerAt(2, 2);
    await fill(peer, peer);
    forged = peer.id;
    const before = (await log().heads()).all;
    for (const level of [3, 0] as const) {
      // A grant is small: it fits until the last byte is used.
      await runInDurableObject(log(), (_, { storage }) => {
        const usage = new OriginUsage(storage.sql);
        usage.add(peer.id, MIB - usage.bytesOf(peer.id), 0);
      });
      expect(await peer.pushed([await peer.grant(level)])).toMatchObject({ accepted: 1, rejected: 0 });
      expect(await peer.seen()).toMatchObject({ received: level });
    }
    expect((await log().heads()).all).toBe(before);
  });

  it("counts a held event once", async () => {
    const peer = await peerAt(2);
    const early = await peer.event({ aheadMs: 30_000 });
    expect(await peer.pushed([early])).toMatchObject({ accepted: 1 });
    const counted = { atomId: peer.id, events: 1, bytes: rowBytes(early) };
    expect(await use(peer)).toEqual(counted);
    vi.setSystemTime(Date.now() + 30_000);
    await runDurableObjectAlarm(log());
    expect(await log().known([early.content_id])).toEqual([early.content_id]);
    expect(await use(peer)).toEqual(counted);
  });

  it("stops a follower before the first event that does not fit, and shows that to the admin", async () => {
    const peer = await peerAt(2, 2);
    for (let i = 0; i < 16; i++) peer.log.append(await large(peer));
    peer.log.drop();
    interface Seen {
      sync: { audience: string; followed: { seq: number; refused: { reason: string } | null } }[];
    }
    const followed = async () => {
      const { sync } = (await peer.seen()) as unknown as Seen;
      return sync.find(({ audience }) => audience === "public")?.followed;
    };
    await eventually(async () => (await followed())?.refused?.reason === "quota-spent");
    const seq = (await followed())?.seq ?? 0;
    // The log has a grant of the peer too.
    expect(seq).toBe(((await use(peer))?.events ?? 0) - 1);
    expect(seq).toBeLessThan(16);
    const pulls = () => peer.called("/api/federation/events").filter(({ method }) => method === "GET").length;
    const before = pulls();
    for (let i = 0; i < 5; i++) await peer.bond().wake();
    expect(pulls(), "it is not asked while there is no room").toBe(before);
  });

  it("is shown by federation status, pool doctor and /metrics", async () => {
    const peer = await peerAt(2);
    const event = await peer.event();
    await peer.push([event]);
    const bytes = rowBytes(event);
    const shown = { atom_id: peer.id, events: 1, bytes };
    const status = await admin<{ policy: object; origins: object[] }>("GET", "/federation");
    expect(status.policy).toMatchObject({ origin_quota_mib: 1 });
    expect(status.origins).toContainEqual(shown);
    const { origins } = await admin<{ origins: { quota_bytes: number; largest: object[] } }>("GET", "/doctor");
    expect(origins.quota_bytes).toBe(MIB);
    expect(origins.largest).toContainEqual(shown);
    const metrics = await ask("/metrics", { headers: { authorization: `Bearer ${env.METRICS_TOKEN}` } });
    expect(await metrics.text()).toContain(`ligand_log_origin_bytes{origin="${peer.id.slice(0, 16)}"} ${bytes}`);
  });
});

it("a log of a release without the count is counted once, by its alarm", async () => {
  const peer = await peerAt(2);
  await peer.push(await Promise.all(Array.from({ length: 20 }, () => peer.event())));
  const counted = (await log().origins()).filter(({ atomId }) => atomId !== forged);
  // The tables are the persisted contract under test: a log of a release without the count has neither of them. The
  // eviction closes cursors, which would lock the tables.
  await evictDurableObject(log());
  await runInDurableObject(log(), (_, { storage }) => {
    storage.sql.exec("DROP TABLE origins");
    storage.sql.exec("DROP TABLE uncounted");
  });
  await evictDurableObject(log());
  const during = await peer.event();
  await peer.push([during]);
  await eventually(async () => {
    await runDurableObjectAlarm(log());
    return runInDurableObject(log(), (_, { storage }) => !new OriginUsage(storage.sql).isCounting());
  });
  const fresh = (await log().origins()).filter(({ atomId }) => atomId !== forged);
  expect(fresh).toHaveLength(counted.length);
  for (const one of counted) {
    const more = one.atomId === peer.id ? { events: one.events + 1, bytes: one.bytes + rowBytes(during) } : {};
    expect(fresh).toContainEqual({ ...one, ...more });
  }
});

it.each([
  [0, 10, 10, false],
  [1, 10, 10, true],
  [10, 1, 10, true],
  [1_000, 1, 0, false],
])("%i bytes and %i more of a quota of %i: spent is %j", (used, more, quota, spent) =>
  expect(isQuotaSpent(used, more, quota)).toBe(spent),
);

it("is 100 MiB unless the operator says otherwise", () => expect(LIMITS.originQuotaMib).toBe(100));
