import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Bond } from "../../edge/federation/bond-object.ts";
import { toBase64 } from "../../schema/crypto/bytes.ts";
import { openEvent } from "../../schema/crypto/signed-event.ts";
import type { SignedEvent } from "../../schema/wire/events.ts";
import type { TrustLevel } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { bondParts } from "./bond-parts.ts";
import { freshPool, outcome, type PeerDouble, peerAt, setPolicy, US } from "./peer-double.ts";
import { admin, eventually } from "./support.ts";

/**
 * docs/spec/federation.md#trust: what each level allows, by real requests; how grants are exchanged, and that old
 * grants change nothing.
 */

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool();
});
beforeEach(async () => {
  // Stay below the rate of registrations.
  pass(60_000);
  await setPolicy({ require_mutual: true, max_peers: 0 });
});
afterAll(() => vi.useRealTimers());
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

const EVENTS = "/api/federation/events";
const STREAM = "/api/federation/stream";
const trust = (peer: PeerDouble, level: number) => admin("PUT", `/peers/${peer.id}/trust`, { level }, 200);
const opened = async (wire: SignedEvent) => {
  const result = await openEvent(wire);
  if (!result.ok) throw new Error(result.code);
  return result.event;
};
/** Levels of the grants that a peer received, in order. */
const receivedLevels = async (peer: PeerDouble) =>
  (await Promise.all(peer.received.map(opened))).map(({ type, visibility, origin, payload }) => {
    expect({ type, visibility, origin }).toEqual({ type: "trust_granted", visibility: "direct", origin: US });
    expect(payload.peer).toBe(peer.id);
    return payload.level;
  });
const inOurLog = async () => {
  const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
  return events.map(({ event }) => event.content_id);
};

describe("the endpoints that are open at the granted and the received level", () => {
  const UNTRUSTED = "403 federation/untrusted";
  const calls: Record<string, [from: TrustLevel, call: (peer: PeerDouble) => Promise<string>, otherwise: string]> = {
    verify: [1, (p) => p.outcomeOf("POST", "/v1/federation/verify", liveness(p)), UNTRUSTED],
    status: [1, (p) => p.outcomeOf("GET", "/api/federation/status"), UNTRUSTED],
    molecule: [2, (p) => p.outcomeOf("GET", "/v1/federation/molecule"), UNTRUSTED],
    "pull of public": [2, (p) => p.outcomeOf("GET", `${EVENTS}?audience=public`), UNTRUSTED],
    "pull of peers": [3, (p) => p.outcomeOf("GET", `${EVENTS}?audience=peers`), UNTRUSTED],
    "stream of public": [2, (p) => p.outcomeOf("GET", `${STREAM}?audience=public`), UNTRUSTED],
    "stream of peers": [3, (p) => p.outcomeOf("GET", `${STREAM}?audience=peers`), UNTRUSTED],
    "push of public": [2, async (p) => outcome(await p.push([await p.event()])), "400"],
    "push of peers": [3, async (p) => outcome(await p.push([await p.event({ visibility: "peers" })])), "400"],
    "push of a grant": [0, async (p) => outcome(await p.push([await p.grant(0)])), UNTRUSTED],
  };
  const liveness = (peer: PeerDouble) => ({
    atom_id: peer.id,
    challenge_b64: toBase64(crypto.getRandomValues(new Uint8Array(32))),
  });

  it.each<[granted: TrustLevel, received: TrustLevel, effective: TrustLevel]>([
    [0, 0, 0],
    [0, 4, 0],
    [1, 0, 1],
    [1, 3, 1],
    [2, 0, 2],
    [2, 3, 2],
    [3, 0, 2],
    [3, 1, 2],
    [3, 2, 2],
    [3, 3, 3],
    [3, 4, 3],
  ])("granted %i, received %i: %i", async (granted, received, effective) => {
    const peer = await peerAt(granted);
    await peer.push([await peer.grant(received)]);
    expect(await peer.seen()).toMatchObject({ granted, received, effective });
    for (const [what, [from, call, otherwise]] of Object.entries(calls)) {
      expect(await call(peer), what).toBe(effective >= from ? "200" : otherwise);
    }
  });
});

describe("a grant by this pool", () => {
  it("is sent to the peer that it names, and to no other", async () => {
    const [peer, other] = await Promise.all([peerAt(1), peerAt(2)]);
    await eventually(async () => other.received.length === 1);
    for (const [i, level] of [3, 2, 0].entries()) {
      pass(1_000);
      await trust(peer, level);
      await eventually(async () => peer.received.length === i + 1);
    }
    expect(await receivedLevels(peer)).toEqual([3, 2, 0]);
    expect(await receivedLevels(other)).toEqual([2]);
    expect((await peer.seen()).deliveries_waiting).toBe(0);
  });

  it("is withdrawn from a removed peer, although the peer was away and its bond was evicted meanwhile", async () => {
    const peer = await peerAt(3);
    await eventually(async () => (await peer.seen()).deliveries_waiting === 0);
    peer.answer = () => Promise.reject(new TypeError("away"));
    await trust(peer, 2);
    await eventually(async () => (await peer.seen()).deliveries_waiting === 1);
    await admin("DELETE", `/peers/${peer.id}`);
    await eventually(async () => peer.called(EVENTS).length > 2);
    expect(await receivedLevels(peer)).toEqual([3]);
    await evictDurableObject(peer.bond());
    peer.answer = () => undefined;
    pass(LIMITS.deliveryBackoffMaxMs);
    await eventually(async () => {
      await runDurableObjectAlarm(peer.bond());
      return peer.received.length === 2;
    });
    expect(await receivedLevels(peer)).toEqual([3, 0]);
    // Nothing else is sent to it, not even a verification.
    const calls = peer.calls.length;
    pass(LIMITS.peerVerifyMs);
    await runDurableObjectAlarm(peer.bond());
    expect(peer.calls).toHaveLength(calls);
    expect(await peer.outcomeOf("GET", "/api/federation/status")).toBe("401 federation/unauthenticated");
  });

  it("is withdrawn by message although this object died before anyone learned of the removal", async () => {
    const peer = await peerAt(2);
    await eventually(async () => peer.received.length === 1);
    // The removal is committed; the log does not answer.
    await runInDurableObject(peer.bond(), async (bond: Bond, { storage }) => {
      const log = vi.spyOn(env.EVENT_LOG, "getByName").mockImplementation(() => {
        throw new Error("the log is away");
      });
      await bond.remove("token");
      log.mockRestore();
      expect(bondParts(storage).events.pending()).toBe(2);
    });
    expect(await receivedLevels(peer)).toEqual([2]);
    await evictDurableObject(peer.bond());
    await runDurableObjectAlarm(peer.bond());
    await eventually(async () => peer.received.length === 2);
    expect(await receivedLevels(peer)).toEqual([2, 0]);
  });

  it("that was never given is not withdrawn: a removed stranger gets no message", async () => {
    const peer = await peerAt(1);
    await admin("DELETE", `/peers/${peer.id}`);
    expect(peer.calls).toEqual([]);
  });

  it("is the admin's decision: what a peer grants above our automatic answer waits for it", async () => {
    const peer = await peerAt(1, 3);
    expect(await peer.seen()).toMatchObject({ granted: 1, received: 3, effective: 1, awaits_admin: 3 });
    const { awaiting_admin } = await admin<{ awaiting_admin: string[] }>("GET", "/federation");
    expect(awaiting_admin).toContain(peer.id);
    await trust(peer, 3);
    expect(await peer.seen()).toMatchObject({ effective: 3, awaits_admin: null });
  });

  it.each<[received: TrustLevel, decided: number | null, granted: number]>([
    [1, null, 1],
    [2, null, 2],
    [3, null, 2],
    [4, null, 2],
    [2, 1, 1],
    [3, 0, 0],
  ])(
    "without require_mutual a grant of %i, after an admin set %s, is answered with %i",
    async (level, decided, granted) => {
      await setPolicy({ require_mutual: false });
      const peer = await peerAt(1);
      if (decided !== null) await trust(peer, decided);
      await eventually(async () => decided === null || peer.received.length === 1);
      await peer.push([await peer.grant(level)]);
      expect(await peer.seen()).toMatchObject({ granted, received: level });
      if (granted !== 2) return;
      await eventually(async () => peer.received.length === 1);
      expect(await receivedLevels(peer)).toEqual([2]);
    },
  );
});

describe("a grant of a peer", () => {
  it("that is sent again after its withdrawal changes nothing, before and after an eviction", async () => {
    const peer = await peerAt(3);
    const [grant, revocation] = [await peer.grant(3), await peer.grant(0, { aheadMs: 1 })];
    await peer.push([grant]);
    expect(await peer.seen()).toMatchObject({ received: 3, effective: 3 });
    await peer.push([revocation]);
    expect(await peer.seen()).toMatchObject({ received: 0, effective: 2 });
    expect(await peer.pushed([grant])).toMatchObject({ accepted: 0, duplicates: 1, rejected: 0 });
    await evictDurableObject(peer.bond());
    await peer.push([grant]);
    expect(await peer.seen()).toMatchObject({ received: 0, effective: 2 });
  });

  it("that was signed before another one and arrives after it changes nothing", async () => {
    const peer = await peerAt(3);
    const now = Date.now() * 1_000;
    const grants = await Promise.all([peer.grant(3, { atUs: now - 2 }), peer.grant(2, { atUs: now - 1 })]);
    await peer.push([grants[1] as SignedEvent]);
    await peer.push([grants[0] as SignedEvent]);
    expect(await peer.seen()).toMatchObject({ received: 2 });
  });

  it("that was lost between our log and its bond is applied when it is sent again", async () => {
    const peer = await peerAt(3);
    const wire = await peer.grant(3);
    await env.EVENT_LOG.getByName("pool").receive([{ wire, ttl: 0, from: peer.id }]);
    expect(await peer.seen()).toMatchObject({ received: 0 });
    expect(await peer.pushed([wire])).toMatchObject({ duplicates: 1 });
    expect(await peer.seen()).toMatchObject({ received: 3 });
  });

  it.each<[what: string, made: (peer: PeerDouble, other: PeerDouble) => Promise<SignedEvent>]>([
    ["that names another peer", (peer, other) => peer.grant(3, { payload: { peer: other.id, level: 3 } })],
    ["that names itself", (peer) => peer.grant(3, { payload: { peer: peer.id, level: 3 } })],
    ["of another pool for us, relayed by the peer", (_peer, other) => other.grant(3)],
    ["with visibility public", (peer) => peer.grant(3, { visibility: "public" })],
    ["with visibility peers", (peer) => peer.grant(3, { visibility: "peers" })],
    ["of an invalid level", (peer) => peer.grant(3, { payload: { peer: US, level: 5 } })],
    ["with an extra member", (peer) => peer.grant(3, { payload: { peer: US, level: 3, and: "more" } })],
    ["of another type", (peer) => peer.grant(3, { type: "trust_changed" })],
  ])("%s changes nothing", async (_what, made) => {
    const [peer, other] = await Promise.all([peerAt(3), peerAt(3)]);
    await peer.push([await made(peer, other)]);
    for (const one of [peer, other]) expect(await one.seen()).toMatchObject({ received: 0, effective: 2 });
  });

  it("in our own name is refused", async () => {
    const peer = await peerAt(3, 3);
    await trust(peer, 2);
    await eventually(async () => peer.received.length === 2);
    // Our own grant, sent back by the peer, is known, and is no grant of the peer.
    expect(await peer.pushed(peer.received)).toMatchObject({ accepted: 0, duplicates: 2, rejected: 0 });
    expect(await peer.seen()).toMatchObject({ granted: 2, received: 3 });
  });
});

describe("a peer below trust 2", () => {
  it("may push grants only, so that it cannot fill our log", async () => {
    const [peer, revoked] = [await peerAt(1), await peerAt(0)];
    for (const one of [peer, revoked]) {
      const before = await inOurLog();
      const large = { peer: US, text: "x".repeat(60_000) };
      const direct = await one.event({ visibility: "direct", payload: large });
      const grant = await one.grant(3, { payload: { ...large, level: 3 } });
      for (const event of [direct, grant, await one.event()]) {
        expect((await one.pushed([event])).errors).toEqual([
          { content_id: event.content_id, code: "events/unknown-origin" },
        ]);
      }
      expect(await outcome(await one.push([await one.grant(1), await one.grant(2)])), "one at a time").toBe(
        "403 federation/untrusted",
      );
      expect(await inOurLog()).toEqual(before);
      expect(await one.pushed([await one.grant(1)])).toMatchObject({ accepted: 1 });
    }
  });

  it("may push ten of them an hour, and our log gets none until our admin decides", async () => {
    const [peer, other] = [await peerAt(1), await peerAt(1)];
    const before = (await inOurLog()).length;
    const grants = await Promise.all(Array.from({ length: 30 }, () => peer.grant(1)));
    const answers: Response[] = [];
    for (const grant of grants) answers.push(await peer.push([grant]));
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused).toHaveLength(30 - LIMITS.peerGrantsPerHour);
    for (const each of refused) expect(Number(each.headers.get("retry-after"))).toBeGreaterThan(300);
    expect(await inOurLog()).toHaveLength(before);
    expect(await peer.seen(), "the newest counts").toMatchObject({ received: 1 });
    expect(await outcome(await other.push([await other.grant(1)])), "another peer").toBe("200");
    pass(361_000);
    expect(await outcome(await peer.push([await peer.grant(1)]))).toBe("200");
    expect(await outcome(await peer.push([await peer.grant(1)]))).toBe("429 federation/rate-limited");
    expect(await peer.outcomeOf("GET", "/api/federation/status"), "its other requests").toBe("200");
  });
});

describe("a change of a peer's trust", () => {
  const changes = async (peer: PeerDouble) => {
    const { events } = await env.EVENT_LOG.getByName("pool").read("all", 0, 500);
    const bodies = await Promise.all(events.map(({ event }) => opened(event)));
    const isIts = (event: { type: string; payload: Record<string, unknown> }) =>
      event.type === "trust_changed" && event.payload.peer === peer.id;
    return bodies.filter(isIts).map(({ payload: { from, to, received } }) => [from, to, received]);
  };

  it("is in our log once, and a repeated grant is not in it", async () => {
    await setPolicy({ require_mutual: false });
    const peer = await peerAt(1);
    for (const level of [1, 1, 1, 2, 2, 1] satisfies TrustLevel[]) {
      pass(1_000);
      await peer.push([await peer.grant(level)]);
    }
    // Our log has no grant from before the policy admitted the peer.
    expect(await changes(peer)).toEqual([
      [1, 2, 2],
      [2, 2, 1],
    ]);
    // A repeated grant still moves our clock.
    await peer.push([await peer.grant(3, { atUs: (Date.now() - 500) * 1_000 })]);
    expect(await peer.seen()).toMatchObject({ received: 1 });
  });
});

describe("an open stream", () => {
  /** Waits until the stream ends; returns whether it has ended by now. */
  async function follow(peer: PeerDouble, audience: string) {
    const response = await peer.send("GET", `${STREAM}?audience=${audience}`);
    expect(response.status).toBe(200);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    const stream = { ended: false };
    const read = async () => {
      while (!(await reader.read()).done);
    };
    void read()
      .catch(() => {})
      .finally(() => {
        stream.ended = true;
      });
    return stream;
  }

  // The half-second check does not run here, because its clock stands still.
  beforeAll(() => {
    vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"] });
  });

  it("ends immediately when our admin revokes, removes, or grants less", async () => {
    const [revoked, removed, lowered] = await Promise.all([peerAt(3, 3), peerAt(3, 3), peerAt(3, 3)]);
    const streams = await Promise.all([revoked, removed, lowered].map((peer) => follow(peer, "peers")));
    const still = await follow(lowered, "public");
    await trust(revoked, 0);
    await admin("DELETE", `/peers/${removed.id}`);
    await trust(lowered, 2);
    await eventually(async () => streams.every(({ ended }) => ended));
    expect(still.ended).toBe(false);
    await trust(lowered, 1);
    await eventually(async () => still.ended);
  });

  it("for bonded peers ends immediately when the peer withdraws its grant", async () => {
    const peer = await peerAt(3, 3);
    const [bonded, open] = [await follow(peer, "peers"), await follow(peer, "public")];
    await peer.push([await peer.grant(2, { aheadMs: 1 })]);
    await eventually(async () => bonded.ended);
    expect(open.ended).toBe(false);
    await trust(peer, 0);
  });
});
