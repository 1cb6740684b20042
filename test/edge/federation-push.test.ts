import { listDurableObjectIds, runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { fromBase64, toBase64, toHex, utf8 } from "../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../schema/crypto/canonical.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import { type PushAnswer, pullAnswer, pushAnswer, type SignedEvent } from "../../schema/wire/events.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { eventOf, freshPool, OURS, outcome, PeerDouble, peerAt, setPolicy, US } from "./peer-double.ts";
import { admin } from "./support.ts";

/** Which events a peer may push, and what happens to them (docs/spec/events.md#sync). */

let [peer, other]: [PeerDouble, PeerDouble] = [] as never;
beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool();
  [peer, other] = await Promise.all([peerAt(3), peerAt(2)]);
  await peer.push([await peer.grant(3)]);
});
// Stay below the rate of requests.
beforeEach(() => pass(1_000));
afterAll(() => vi.useRealTimers());
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

const EVENTS = "/api/federation/events";
const log = () => env.EVENT_LOG.getByName("pool");
const heads = async () => {
  const { all, public: open, peers } = await log().heads();
  return { all, open, peers };
};
/** The events of this peer that another peer may pull, oldest first. */
async function pulledBy(reader: PeerDouble, since: number) {
  const response = await reader.send("GET", `${EVENTS}?since=${since}`);
  return pullAnswer.parse(await response.json()).events;
}
const reencoded = async (wire: SignedEvent, change: (text: string) => string, signer = peer.signer) => {
  const bytes = utf8(change(new TextDecoder().decode(fromBase64(wire.event_bytes) ?? new Uint8Array())));
  return {
    ...wire,
    event_bytes: toBase64(bytes),
    content_id: await sha256Hex(bytes),
    signature: toHex(await signer.sign(bytes)),
  };
};

describe("a pushed event", () => {
  it("is accepted, and relayed to the peers that may see it", async () => {
    const before = await heads();
    const event = await peer.event();
    const answer = pushAnswer.parse(await peer.pushed([event]));
    expect(answer).toMatchObject({ accepted: 1, duplicates: 0, rejected: 0, errors: [] });
    expect(answer.receiver_head_seq).toBe(before.open + 1);
    expect(answer.receiver_hlc.physical_us).toBeGreaterThanOrEqual(Date.now() * 1_000);
    expect(await pulledBy(other, before.open)).toEqual([{ seq: before.open + 1, event, ttl: 2 }]);
  });

  it("is accepted beside invalid ones, which are named in the answer", async () => {
    const [good, bad, early] = [await peer.event(), await peer.event(), await peer.event({ aheadMs: 61_000 })];
    const forged = { ...bad, signature: early.signature };
    const response = await peer.push([forged, good, early]);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      accepted: 1,
      rejected: 2,
      errors: [
        { content_id: bad.content_id, code: "events/invalid-signature" },
        { content_id: early.content_id, code: "events/excessive-drift" },
      ],
    });
  });

  it("that comes twice in one push is accepted once", async () => {
    const event = await peer.event();
    expect(await peer.pushed([event, event])).toMatchObject({ accepted: 1, duplicates: 1 });
  });
});

describe("a forged event", () => {
  it.each<[what: string, made: () => Promise<SignedEvent>, code: string]>([
    [
      "with the id of another event",
      async () => ({ ...(await peer.event()), content_id: (await peer.event()).content_id }),
      "events/content-hash-mismatch",
    ],
    [
      "with the bytes of another event",
      async () => ({ ...(await peer.event()), event_bytes: (await peer.event()).event_bytes }),
      "events/content-hash-mismatch",
    ],
    [
      "with the signature of another event",
      async () => ({ ...(await peer.event()), signature: (await peer.event()).signature }),
      "events/invalid-signature",
    ],
    [
      "in another pool's name, signed by the sender",
      async () => reencoded(await other.event(), (text) => text),
      "events/invalid-signature",
    ],
    [
      "in another pool's name, with the sender's key",
      async () => ({ ...(await peer.event()), event_bytes: (await other.event()).event_bytes }),
      "events/malformed",
    ],
    ["in our name", async () => reencoded(await peer.event(), (text) => text.replace(peer.id, US)), "events/malformed"],
    [
      "with white space that the canonical form lacks",
      async () => reencoded(await peer.event(), (text) => text.replace(":", ": ")),
      "events/malformed",
    ],
    [
      "with a repeated member",
      async () => reencoded(await peer.event(), (text) => text.replace('"v":1', '"v":1,"v":1')),
      "events/malformed",
    ],
    [
      "with an extra member",
      async () => reencoded(await peer.event(), (text) => text.replace('"v":1', '"v":1,"w":1')),
      "events/malformed",
    ],
    [
      "of another version",
      async () => reencoded(await peer.event(), (text) => text.replace('"v":1', '"v":2')),
      "events/malformed",
    ],
    [
      "with the clock of another node",
      async () => reencoded(await peer.event(), (text) => text.replace(/"node_id":"..../, '"node_id":"0000')),
      "events/malformed",
    ],
    ["that is not JSON", async () => reencoded(await peer.event(), () => "{"), "events/malformed"],
    [
      "that nests too deeply",
      async () => reencoded(await peer.event(), () => `${"[".repeat(20_000)}${"]".repeat(20_000)}`),
      "events/malformed",
    ],
  ])("%s is refused", async (_what, made, code) => {
    const before = await heads();
    const event = await made();
    const response = await peer.push([event]);
    expect(response.status).toBe(400);
    expect((await response.json<PushAnswer>()).errors).toEqual([{ content_id: event.content_id, code }]);
    expect(await heads()).toEqual(before);
  });

  it("with a key of small order is refused", async () => {
    const key = toHex(Uint8Array.of(1, ...new Uint8Array(31)));
    const event = await peer.event();
    // R = B and S = 1 is a valid signature of every message under the neutral element.
    const signature = `5866666666666666666666666666666666666666666666666666666666666666${"01".padEnd(64, "0")}`;
    const bytes = canonicalBytes({
      ...JSON.parse(new TextDecoder().decode(fromBase64(event.event_bytes) ?? new Uint8Array())),
      origin: await sha256Hex(Uint8Array.of(1, ...new Uint8Array(31))),
      hlc: { physical_us: Date.now() * 1_000, logical: 0, node_id: key.slice(0, 16) },
    });
    const forged = {
      event_bytes: toBase64(bytes),
      content_id: await sha256Hex(bytes),
      origin_pubkey: key,
      signature,
    };
    expect((await peer.pushed([forged])).errors).toEqual([
      { content_id: forged.content_id, code: "events/invalid-signature" },
    ]);
  });
});

describe("an event ahead of our clock", () => {
  it("by more than 60 s is refused, and our clock does not move", async () => {
    const before = await log().heads();
    const event = await peer.event({ aheadMs: 60_001 });
    expect((await peer.pushed([event])).errors).toEqual([
      { content_id: event.content_id, code: "events/excessive-drift" },
    ]);
    expect((await log().heads()).hlc).toEqual(before.hlc);
  });

  it("by 10 to 60 s is held back until it is due", async () => {
    const before = await heads();
    const event = await peer.event({ aheadMs: 60_000 });
    expect(await peer.pushed([event])).toMatchObject({ accepted: 1, rejected: 0 });
    expect(await peer.pushed([event]), "again").toMatchObject({ accepted: 0, duplicates: 1 });
    expect(await pulledBy(other, before.open)).toEqual([]);
    expect(await heads()).toEqual(before);
    pass(50_000);
    await runDurableObjectAlarm(log());
    expect(await pulledBy(other, before.open)).toEqual([{ seq: before.open + 1, event, ttl: 2 }]);
  });

  it("is not held back if it is for us only: its sender tries again", async () => {
    const grant = await other.grant(2, { aheadMs: 30_000 });
    const before = await other.seen();
    expect((await other.pushed([grant])).errors).toEqual([
      { content_id: grant.content_id, code: "events/excessive-drift" },
    ]);
    expect((await other.pushed([grant])).errors, "again").toHaveLength(1);
    expect((await other.seen()).received).toBe(before.received);
    pass(20_000);
    expect(await other.pushed([grant])).toMatchObject({ accepted: 1 });
    expect((await other.seen()).received).toBe(2);
  });
});

describe("a peer relays", () => {
  const code = async (event: SignedEvent) => {
    const { errors } = await peer.pushed([event]);
    return errors[0]?.code ?? "accepted";
  };

  it("public events of trusted origins to other peers", async () => {
    expect(await code(await other.event())).toBe("accepted");
  });

  it.each<[what: string, made: () => Promise<SignedEvent>, want: string]>([
    ["no public events of an unknown pool", async () => (await PeerDouble.make()).event(), "events/unknown-origin"],
    ["no public events of a peer at trust 1", async () => (await peerAt(1)).event(), "events/unknown-origin"],
    ["no public events of a revoked peer", async () => (await peerAt(0)).event(), "events/unknown-origin"],
    ["no public events of a removed peer", async () => removed(), "events/unknown-origin"],
    ["no event of another pool for its peers", () => ofBonded("peers"), "events/unknown-origin"],
    ["no private event of another pool", () => other.event({ visibility: "private" }), "events/forbidden"],
    ["no private event of its own", () => peer.event({ visibility: "private" }), "events/forbidden"],
    ["no event of another pool for us only", () => other.grant(1), "events/forbidden"],
    [
      "no event of its own for another pool only",
      () => peer.event({ visibility: "direct", payload: { peer: other.id } }),
      "events/forbidden",
    ],
    ["no forged event of ours", () => eventOf(OURS), "events/forbidden"],
  ])("%s", async (_what, made, want) => {
    const event = await made();
    pass(1_000);
    const before = await heads();
    expect(await code(event)).toBe(want);
    expect(await heads()).toEqual(before);
  });

  const removed = async () => {
    pass(60_000);
    const gone = await peerAt(2);
    await admin("DELETE", `/peers/${gone.id}`);
    return gone.event();
  };
  const ofBonded = async (visibility: "peers") => {
    const bonded = await peerAt(3, 3);
    return bonded.event({ visibility });
  };

  it("a hundred events of unknown origins in one push are refused one by one, and no object is woken", async () => {
    const bonds = (await listDurableObjectIds(env.BOND)).length;
    const strangers = await Promise.all(Array.from({ length: 100 }, () => signerFrom(generateSecretKey())));
    const events = await Promise.all(strangers.map((signer) => eventOf(signer)));
    const answer = await peer.pushed(events);
    expect(new Set(answer.errors.map((error) => error.code))).toEqual(new Set(["events/unknown-origin"]));
    expect(answer.errors).toHaveLength(100);
    expect(await listDurableObjectIds(env.BOND)).toHaveLength(bonds);
  });
});

describe("a ttl", () => {
  it.each<[ttl: number, onwards: number[]]>([
    [Number.MAX_SAFE_INTEGER, [2]],
    [4, [2]],
    [3, [2]],
    [2, [1]],
    [1, [0]],
    [0, []],
  ])("of %i is relayed as %j", async (ttl, onwards) => {
    const before = await heads();
    expect(await peer.pushed([await peer.event()], ttl)).toMatchObject({ accepted: 1 });
    expect((await pulledBy(other, before.open)).map((each) => each.ttl)).toEqual(onwards);
  });

  it("cannot be raised by sending the event again", async () => {
    const before = await heads();
    const event = await peer.event();
    await peer.pushed([event], 0);
    expect(await other.pushed([event], 3)).toMatchObject({ duplicates: 1 });
    expect(await pulledBy(other, before.open)).toEqual([]);
  });
});

describe("the answer", () => {
  it.each<[fresh: number, again: number, bad: number, status: number]>([
    [1, 0, 0, 200],
    [0, 1, 0, 200],
    [1, 0, 1, 200],
    [0, 1, 1, 400],
    [0, 0, 1, 400],
    [1, 1, 1, 200],
  ])("to %i new, %i repeated and %i invalid events: %i", async (fresh, again, bad, status) => {
    const made = (n: number) => Promise.all(Array.from({ length: n }, () => peer.event()));
    const known = await made(again);
    if (again > 0) await peer.push(known);
    const forged = (await made(bad)).map((event) => ({ ...event, signature: "0".repeat(128) }));
    const response = await peer.push([...(await made(fresh)), ...known, ...forged]);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ accepted: fresh, duplicates: again, rejected: bad });
  });

  it("to ten thousand repeated events counts duplicates, and nothing changes", async () => {
    const events = await Promise.all(Array.from({ length: LIMITS.eventsPerPush }, () => peer.event()));
    expect(await peer.pushed(events)).toMatchObject({ accepted: 100 });
    const before = await heads();
    for (let i = 0; i < 100; i++) {
      if (i % 50 === 0) pass(1_000);
      expect(await peer.pushed(events)).toMatchObject({ accepted: 0, duplicates: 100, rejected: 0 });
    }
    expect(await heads()).toEqual(before);
  });
});

it("a peer that has reached its rate of events gets a Retry-After, while another is accepted", async () => {
  const [greedy, other] = [await peerAt(2), await peerAt(2)];
  await setPolicy({ peer_events_per_minute: 2 });
  expect(await greedy.pushed(await Promise.all([greedy.event(), greedy.event(), greedy.event()]))).toMatchObject({
    accepted: 3,
  });
  const more = await greedy.event();
  const before = await heads();
  for (let times = 0; times < 2; times++) {
    const refused = await greedy.push([more]);
    expect(await outcome(refused)).toBe("429 federation/rate-limited");
    expect(refused.headers.get("retry-after")).toBe("30");
  }
  expect(await heads()).toEqual(before);
  expect(await other.pushed([await other.event()])).toMatchObject({ accepted: 1 });
  pass(30_000);
  expect(await greedy.pushed([more])).toMatchObject({ accepted: 1 });
  await setPolicy({ peer_events_per_minute: LIMITS.peerMaxEventsPerMinute });
});

describe("a push is refused as a whole", () => {
  const wrapped = async (n: number) => {
    const event = await peer.event();
    return { events: Array.from({ length: n }, () => ({ event, ttl: 3 })) };
  };

  it.each<[what: string, made: () => Promise<unknown>, want: string]>([
    ["with more than a hundred events", () => wrapped(101), "400 http/invalid-body"],
    ["without events", () => wrapped(0), "400 http/invalid-body"],
    ["of more than 1 MiB", async () => "x".repeat(LIMITS.federatedBodyBytes + 1), "401 federation/unauthenticated"],
    ["that is not JSON", async () => "{", "400 http/invalid-json"],
    ["with a hundred thousand values", async () => `[${"0,".repeat(100_000)}0]`, "400 http/body-too-large"],
    [
      "with a ttl below zero",
      async () => ({ events: [{ event: await peer.event(), ttl: -1 }] }),
      "400 http/invalid-body",
    ],
    [
      "with a fractional ttl",
      async () => ({ events: [{ event: await peer.event(), ttl: 1.5 }] }),
      "400 http/invalid-body",
    ],
    ["with an extra field", async () => ({ ...(await wrapped(1)), more: 1 }), "400 http/invalid-body"],
    [
      "with an event of 65 KiB",
      async () => ({
        events: [{ event: { ...(await peer.event()), event_bytes: "A".repeat(66_560 * (4 / 3)) }, ttl: 1 }],
      }),
      "400 http/invalid-body",
    ],
  ])("%s", async (_what, made, want) => {
    const before = await heads();
    expect((await peer.outcomeOf("POST", EVENTS, await made())).replace(/^413/, "400")).toBe(want);
    expect(await heads()).toEqual(before);
  });

  it("while federation is off, with any other settings", async () => {
    await setPolicy({ federation: "off" });
    expect(await outcome(await peer.push([await peer.event()]))).toBe("503 federation/disabled");
    await setPolicy({ federation: "on" });
    expect(await outcome(await peer.push([await peer.event()]))).toBe("200");
  });
});
