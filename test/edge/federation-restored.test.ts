import { beforeEach, describe, expect, it, vi } from "vitest";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import type { PeerRow } from "../../schema/db/peers.ts";
import type { SignedEvent } from "../../schema/wire/events.ts";
import type { TrustLevel } from "../../schema/wire/federation.ts";
import { freshPool, outcome, PeerDouble, peerAt } from "./peer-double.ts";
import { admin, eventually } from "./support.ts";

/**
 * docs/spec/federation.md#trust, docs/spec/events.md#events: one of the two bonded pools was restored from a backup.
 * What the other pool states now is what counts.
 */

const HOUR = 3_600_000;
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool();
});

describe("a peer of an export", () => {
  const rowOf = (peer: PeerDouble): PeerRow => ({
    id: peer.id,
    publicKey: peer.card().public_key,
    name: "double",
    url: peer.url,
    capabilities: "[]",
    authTier: "device-bound",
    granted: 3,
    received: 3,
    effective: 3,
    awaitsAdmin: null,
    addedByAdmin: true,
    decidedBy: "admin",
    signatureVersion: 2,
    circuit: "closed",
    addedAtMs: 1,
    seenAtMs: 2,
    revokedAtMs: null,
    removedAtMs: null,
  });

  it.each<[what: string, since: TrustLevel, effective: TrustLevel]>([
    ["has granted nothing else since is bonded again", 3, 3],
    ["has granted less since", 2, 2],
    ["has withdrawn its trust since", 0, 2],
  ])(
    "is trusted above 2 only by its current grant: a peer that %s, when it sends that grant",
    async (_what, since, effective) => {
      const peer = await PeerDouble.make();
      const exportedGrant = await peer.grant(3, { aheadMs: -2 * HOUR });
      const newest = since === 3 ? exportedGrant : await peer.grant(since, { aheadMs: -HOUR });
      await admin("POST", "/import", { table: "peers", rows: [rowOf(peer)] }, 200);
      expect(await peer.seen()).toMatchObject({ granted: 3, received: 0, effective: 2, awaits_admin: null });
      pass(1_000);
      // As in the peer's queue: it was signed at the decision, which was before the import.
      await peer.push([newest]);
      expect(await peer.seen()).toMatchObject({ received: since, effective });
      // A withdrawn grant stays withdrawn, whichever pool sends it again.
      await peer.push([exportedGrant]);
      expect(await peer.seen()).toMatchObject({ received: since, effective });
    },
  );
});

describe("this pool, restored from a copy of its state", () => {
  it("trusts no grant that it had, and accepts each grant that is sent again, whenever it was made", async () => {
    const [silent, loyal] = [await peerAt(3, 3), await peerAt(3)];
    const grant = await loyal.grant(3);
    await loyal.push([grant]);
    expect(await loyal.seen()).toMatchObject({ received: 3, effective: 3 });
    await admin("POST", "/new-log", undefined, 200);
    for (const peer of [silent, loyal]) {
      expect(await peer.seen()).toMatchObject({ granted: 3, received: 0, effective: 2 });
    }
    await loyal.push([grant]);
    expect(await loyal.seen()).toMatchObject({ received: 3, effective: 3 });
    expect(await silent.seen()).toMatchObject({ received: 0, effective: 2 });
  });
});

describe("a peer that was restored", () => {
  const receivedLevels = async (peer: PeerDouble) => {
    const opened = await Promise.all(peer.received.map((event) => openEvent(event)));
    return opened.map((each) => (each.ok && each.event.type === "trust_granted" ? each.event.payload.level : null));
  };
  const contentIds = (events: readonly SignedEvent[]) => events.map(({ content_id }) => content_id);
  const logHead = async () => (await admin<{ head: number }>("GET", "/events?limit=1")).head;

  it("and whose log has a new name gets its grant again, as the same event", async () => {
    const peer = await peerAt(3, 3);
    peer.log.append(await peer.event());
    await eventually(async () => (await receivedLevels(peer)).length === 1);
    await eventually(async () => JSON.stringify((await peer.seen()).sync).includes('"seq":1'));
    const head = await logHead();
    for (const times of [2, 3]) {
      peer.log.startOver(times.toString(16).padStart(32, "0"));
      await eventually(async () => peer.received.length === times);
    }
    expect(new Set(contentIds(peer.received)).size).toBe(1);
    expect(await receivedLevels(peer)).toEqual([3, 3, 3]);
    expect(await logHead()).toBe(head);
  });

  it("and that registers again gets its newest grant; a peer without a grant gets nothing", async () => {
    const peer = await peerAt(3);
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 }, 200);
    await eventually(async () => (await receivedLevels(peer)).at(-1) === 2);
    const before = peer.received.length;
    expect(await outcome(await peer.register())).toBe("200");
    await eventually(async () => peer.received.length > before);
    expect(peer.received.at(-1)).toEqual(peer.received[before - 1]);
    const stranger = await peerAt(1);
    expect(await outcome(await stranger.register())).toBe("200");
    expect(await stranger.seen()).toMatchObject({ deliveries_waiting: 0 });
    expect(stranger.received).toEqual([]);
  });
});
