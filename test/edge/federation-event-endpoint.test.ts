import { abortAllDurableObjects, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { EventLog } from "../../edge/events/event-log-object.ts";
import type { SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { inBond } from "./bond-parts.ts";
import { freshPool, outcome, type PeerDouble, peerAt } from "./peer-double.ts";
import { admin } from "./support.ts";

/** The work rate of a peer, and the grants of a peer that no admin has decided about. */

const EVENTS = "/api/federation/events";
beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool();
});
beforeEach(() => pass(60_000));
afterAll(() => vi.useRealTimers());
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

const log = () => env.EVENT_LOG.getByName("pool");
const typesSince = async (since: number) => {
  const { events } = await log().read("all", since, 500);
  return events.map(({ event }) => JSON.parse(atob(event.event_bytes)) as { type: string; payload: object });
};

describe("the work of a peer", () => {
  const pull = (peer: PeerDouble) => peer.send("GET", `${EVENTS}?since=0`);
  const noncesOf = (peer: PeerDouble) => inBond(peer, ({ admissions }) => admissions.storedNonces());
  /** Sets the debt of the peer: `leftMs` of its burst of work are left. */
  async function owesAllBut(peer: PeerDouble, leftMs: number): Promise<void> {
    // By then everything that the peer owed is paid.
    pass(60_000);
    await inBond(peer, ({ admissions }) => {
      admissions.chargeWork((LIMITS.peerWorkBurstMs - leftMs) * 1_000, Date.now());
      // This also writes the charge.
      admissions.noteSignatureVersion(2);
    });
    await abortAllDurableObjects();
  }
  const made = (peer: PeerDouble, n: number) => Promise.all(Array.from({ length: n }, () => peer.event()));

  it.each<[what: string, ask: (peer: PeerDouble, known: SignedEvent[]) => Promise<Response>]>([
    ["a peer that pulls", (peer) => pull(peer)],
    ["a peer that repeats known events", (peer, known) => peer.push(known)],
    [
      "a peer that sends forged events",
      (peer, known) => peer.push(known.map((e) => ({ ...e, content_id: "0".repeat(64) }))),
    ],
  ])("%s is limited with Retry-After, and a refused request stores nothing", async (_what, ask) => {
    const peer = await peerAt(2);
    const known = await made(peer, 100);
    await peer.push(known);
    await owesAllBut(peer, 1);
    expect((await ask(peer, known)).status, "work that begins in time is finished").not.toBe(429);
    const refused = await ask(peer, known);
    const wait = Number(refused.headers.get("retry-after"));
    expect(await outcome(refused)).toBe("429 federation/rate-limited");
    const before = (await noncesOf(peer)).length;
    expect((await ask(peer, known)).status).toBe(429);
    expect(await noncesOf(peer)).toHaveLength(before);
    pass(wait * 1_000);
    expect((await ask(peer, known)).status).not.toBe(429);
  });

  it("is done one request at a time: a few wait, the rest are refused, and another peer is answered", async () => {
    const [peer, other] = [await peerAt(2), await peerAt(2)];
    const events = await made(peer, 50);
    const answers = await Promise.all(Array.from({ length: 20 }, () => peer.push(events)));
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThan(LIMITS.peerTurnsWaiting);
    for (const each of refused) expect(each.headers.get("retry-after")).toBe("1");
    expect((await pull(other)).status).toBe(200);
  });

  it("includes no verification of known events, but their bytes must match their id", async () => {
    const peer = await peerAt(2);
    const [event, another] = (await made(peer, 2)) as [SignedEvent, SignedEvent];
    await peer.push([event]);
    expect(await peer.pushed([{ ...event, signature: "0".repeat(128) }])).toMatchObject({ duplicates: 1 });
    expect((await peer.pushed([{ ...another, content_id: event.content_id }])).errors).toEqual([
      { content_id: event.content_id, code: "events/content-hash-mismatch" },
    ]);
  });
});

describe("our log and peers below trust 2", () => {
  it("has nothing of such a peer until our admin decides, and then its last grant", async () => {
    const before = (await log().heads()).all;
    const peer = await peerAt(1);
    const [first, last] = [await peer.grant(2), await peer.grant(3)];
    expect(await peer.pushed([first])).toMatchObject({ accepted: 1 });
    expect(await peer.pushed([last])).toMatchObject({ accepted: 1 });
    expect(await peer.pushed([last]), "again").toMatchObject({ accepted: 0, duplicates: 1 });
    expect(await peer.pushed([first]), "the older one").toMatchObject({ accepted: 0, duplicates: 1 });
    expect(await peer.seen()).toMatchObject({ received: 3, awaits_admin: 3 });
    expect((await log().heads()).all).toBe(before);

    await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 });
    const logged = await typesSince(before);
    const ofThePeer = { peer: peer.id, by: null };
    expect(logged.map(({ type }) => type).sort()).toEqual(
      ["peer_handshake", "trust_changed", "trust_changed", "trust_granted", "trust_granted"].sort(),
    );
    expect(logged.filter(({ type }) => type === "peer_handshake")).toMatchObject([{ payload: ofThePeer }]);
    expect(logged.filter(({ type }) => type === "trust_changed")).toMatchObject([
      { payload: { ...ofThePeer, from: 1, to: 1, received: 3 } },
      { payload: { from: 1, to: 2 } },
    ]);
    const { events } = await log().read("all", before, 500);
    const ids = events.map(({ event }) => event.content_id);
    expect([ids.includes(first.content_id), ids.includes(last.content_id)]).toEqual([false, true]);
    expect(await peer.pushed([await peer.grant(2)]), "and from now on every grant").toMatchObject({ accepted: 1 });
    expect((await log().heads()).all).toBeGreaterThan(before + logged.length);
  });

  it("gets the grant later when it was unavailable at the decision", async () => {
    const peer = await peerAt(1);
    const grant = await peer.grant(3);
    await peer.push([grant]);
    const taking = vi.spyOn(EventLog.prototype, "receive").mockRejectedValueOnce(new Error("away"));
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 });
    expect(taking).toHaveBeenCalled();
    taking.mockRestore();
    await peer.bond().wake();
    expect(await log().known([grant.content_id])).toEqual([grant.content_id]);
  });

  it.each<[what: string, made: (peer: PeerDouble) => Promise<SignedEvent>, code: string]>([
    [
      "a grant for another pool",
      (peer) => peer.grant(2, { payload: { peer: "0".repeat(64), level: 2 } }),
      "events/forbidden",
    ],
    ["a grant ahead of our clock", (peer) => peer.grant(2, { aheadMs: 11_000 }), "events/excessive-drift"],
    ["a public event", (peer) => peer.event(), "events/unknown-origin"],
    ["a private event", (peer) => peer.event({ visibility: "private" }), "events/forbidden"],
  ])("does not get %s of such a peer, which is refused", async (_what, made, code) => {
    const before = (await log().heads()).all;
    const peer = await peerAt(1);
    expect((await peer.pushed([await made(peer)])).errors.map((error) => error.code)).toEqual([code]);
    expect(await peer.seen()).toMatchObject({ received: 0 });
    expect((await log().heads()).all).toBe(before);
  });
});

describe("the rate of grants that all peers below trust 2 share", () => {
  const FIRST_TRIES: [what: string, made: (peer: PeerDouble) => Promise<SignedEvent>][] = [
    ["a forged grant", async (peer) => ({ ...(await peer.grant(2)), signature: "0".repeat(128) })],
    ["another event", (peer) => peer.event()],
    ["a grant ahead of our clock", (peer) => peer.grant(2, { aheadMs: 11_000 })],
    ["a grant for another pool", (peer) => peer.grant(2, { payload: { peer: "0".repeat(64), level: 2 } })],
    ["a good grant", (peer) => peer.grant(2)],
  ];
  const registry = () => env.PEER_REGISTRY.getByName("pool");
  const setOwed = (grants: number) =>
    runInDurableObject(registry(), (_, { storage }) => {
      storage.kv.put("strangerGrantsPaidAtMs", Date.now() + (grants * 60_000) / LIMITS.strangerGrantsPerMinute);
    });
  const owed = () =>
    runInDurableObject(registry(), (_, { storage }) =>
      Math.round(
        (((storage.kv.get<number>("strangerGrantsPaidAtMs") ?? 0) - Date.now()) * LIMITS.strangerGrantsPerMinute) /
          60_000,
      ),
    );
  const HALF = LIMITS.strangerGrantsPerMinute / 2;

  it.each(FIRST_TRIES)("counts %s as a peer's first try, which may use the reserved half", async (_what, made) => {
    const [peer, newcomer] = [await peerAt(1), await peerAt(1)];
    await setOwed(HALF);
    expect(await outcome(await peer.push([await made(peer)]))).not.toMatch(/429/);
    expect(await owed()).toBe(HALF + 1);
    await abortAllDurableObjects();
    expect(await outcome(await peer.push([await made(peer)]))).toBe("429 federation/rate-limited");
    expect(await owed(), "a refusal takes nothing").toBe(HALF + 1);
    expect(await newcomer.pushed([await newcomer.grant(2)])).toMatchObject({ accepted: 1 });
  });

  it("does not count a refused request as a try", async () => {
    const peer = await peerAt(1);
    await setOwed(LIMITS.strangerGrantsPerMinute);
    expect(await outcome(await peer.push([await peer.grant(2)]))).toBe("429 federation/rate-limited");
    await setOwed(HALF);
    expect(await peer.pushed([await peer.grant(2)])).toMatchObject({ accepted: 1 });
  });

  it("leaves room for a new peer while ten peers send ten invalid grants each", async () => {
    const peers = await Promise.all(Array.from({ length: LIMITS.registrationsPerMinute - 1 }, () => peerAt(1)));
    pass(60_000);
    let looked = 0;
    for (const peer of peers) {
      const junk = await peer.event();
      for (let i = 0; i < LIMITS.peerGrantsPerHour; i++) if ((await peer.push([junk])).status !== 429) looked += 1;
    }
    expect(looked).toBeLessThan(LIMITS.strangerGrantsPerMinute);
    const newcomer = await peerAt(1);
    expect(await newcomer.pushed([await newcomer.grant(2)])).toMatchObject({ accepted: 1 });
  });

  it("survives the eviction and new registration of a peer", async () => {
    const peer = await peerAt(1);
    await peer.push([await peer.event()]);
    await peer.bond().evict();
    expect(await outcome(await peer.register())).toBe("200");
    await setOwed(LIMITS.strangerGrantsPerMinute - 1);
    expect(await outcome(await peer.push([await peer.event()])), "its first try again").not.toMatch(/429/);
    await peer.bond().evict();
    expect(await outcome(await peer.register())).toBe("200");
    expect(await outcome(await peer.push([await peer.event()]))).toBe("429 federation/rate-limited");
  });
});
