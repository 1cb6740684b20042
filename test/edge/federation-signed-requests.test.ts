import {
  abortAllDurableObjects,
  evictDurableObject,
  listDurableObjectIds,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { env } from "cloudflare:workers";
import { Point } from "@noble/ed25519";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { concat, toBase64, toHex } from "../../schema/crypto/bytes.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { idOfPublicKey } from "../../schema/crypto/ids.ts";
import { freshNonce, SIGNATURE_HEADERS } from "../../schema/crypto/request-signature.ts";
import type { FederationPolicy } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { inBond } from "./bond-parts.ts";
import { type Bend, deliver, freshPool, OURS, outcome, PeerDouble, peerAt, setPolicy, US } from "./peer-double.ts";
import { admin, eventually } from "./support.ts";

/** Attacks on signed requests (docs/spec/federation.md#signed-requests). */

let peer: PeerDouble;
beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool();
});
beforeEach(async () => {
  // Stay below the rate of registrations.
  pass(60_000);
  await setPolicy({ legacy_signatures: "off" });
  peer = await peerAt(1);
});
afterAll(() => vi.useRealTimers());
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

const STATUS = "/api/federation/status";
const EVENTS = "/api/federation/events";
const VERIFY = "/v1/federation/verify";
const challenge = () => toBase64(crypto.getRandomValues(new Uint8Array(32)));
const REFUSED = "401 federation/unauthenticated";

const noncesOf = (of: PeerDouble) =>
  inBond(of, ({ admissions }) => admissions.storedNonces().map(({ nonce }) => nonce));

describe("simultaneous requests", () => {
  const requests = () => Promise.all(Array.from({ length: 20 }, () => peer.request("GET", STATUS)));
  const sent = (all: Request[]) => Promise.all(all.map(async (each) => outcome(await deliver(each.clone()))));

  it("are on disk before they are answered", async () => {
    const all = await requests();
    expect(new Set(await sent(all))).toEqual(new Set(["200"]));
    await evictDurableObject(peer.bond());
    expect((await noncesOf(peer)).sort()).toEqual(all.map((each) => each.headers.get(SIGNATURE_HEADERS.nonce)).sort());
  });

  it("are not admitted when they cannot be written, and pass at the next try", async () => {
    const all = await requests();
    await runInDurableObject(peer.bond(), (_bond, { storage }) => {
      vi.spyOn(storage, "transactionSync").mockImplementation(() => {
        throw new Error("the disk is full");
      });
    });
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    const failed = await sent(all);
    await runInDurableObject(peer.bond(), (_bond, { storage }) => vi.mocked(storage.transactionSync).mockRestore());
    expect(new Set(failed)).toEqual(new Set(["500 http/internal"]));
    expect(logged).toHaveBeenCalledTimes(20);
    logged.mockRestore();
    expect(new Set(await sent(all))).toEqual(new Set(["200"]));
    expect(new Set(await sent(all))).toEqual(new Set([REFUSED]));
  });

  it("of a peer that is removed during the write are refused", async () => {
    const all = await requests();
    const answers = sent(all);
    await admin("DELETE", `/peers/${peer.id}`);
    for (const answer of await answers) expect(["200", "403 federation/untrusted", REFUSED]).toContain(answer);
    expect(new Set(await sent(await requests()))).toEqual(new Set([REFUSED]));
  });
});

describe("a replay", () => {
  it("is refused", async () => {
    const request = await peer.request("GET", STATUS);
    expect(await outcome(await deliver(request.clone()))).toBe("200");
    expect(await outcome(await deliver(request))).toBe(REFUSED);
  });

  it("sent fifty times at once passes exactly once", async () => {
    const request = await peer.request("GET", STATUS);
    const answers = await Promise.all(Array.from({ length: 50 }, async () => outcome(await deliver(request.clone()))));
    expect(answers.filter((each) => each === "200")).toHaveLength(1);
    expect(answers.filter((each) => each === REFUSED)).toHaveLength(49);
  });

  it("is refused during and after an eviction of the bond", async () => {
    const request = await peer.request("GET", STATUS);
    expect(await outcome(await deliver(request.clone()))).toBe("200");
    await evictDurableObject(peer.bond());
    const answers = await Promise.all(Array.from({ length: 10 }, async () => outcome(await deliver(request.clone()))));
    expect(new Set(answers)).toEqual(new Set([REFUSED]));
  });

  it.each([
    ["evicted", () => evictDurableObject(peer.bond())],
    ["killed", abortAllDurableObjects],
  ])("sent fifty times at once passes at most once while the bond is %s, and never after", async (_how, end) => {
    const request = await peer.request("GET", STATUS);
    const send = () => deliver(request.clone()).then(outcome, () => "cut off");
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    const first = Array.from({ length: 25 }, send);
    // In the middle of the requests: some are admitted, and none may be on disk yet.
    await Promise.race(first);
    const answers = await Promise.all([...first, end(), ...Array.from({ length: 25 }, send)]);
    answers.push(await send());
    logged.mockRestore();
    expect(answers.filter((each) => each === "200").length).toBeLessThanOrEqual(1);
    expect(await send()).toBe(REFUSED);
  });

  it("is refused when its nonce was purged and the clock has stepped back", async () => {
    const request = await peer.request("GET", STATUS);
    expect(await outcome(await deliver(request.clone()))).toBe("200");
    pass((LIMITS.nonceRetentionSeconds + 1) * 1_000);
    expect(await runDurableObjectAlarm(peer.bond())).toBe(true);
    expect(await noncesOf(peer)).toEqual([]);
    pass(-(LIMITS.nonceRetentionSeconds + 1) * 1_000);
    await evictDurableObject(peer.bond());
    expect(await outcome(await deliver(request))).toBe(REFUSED);
    pass(1_000);
    expect(await peer.outcomeOf("GET", STATUS), "a later request").toBe("200");
  });

  it("is detected by a stored nonce, which the alarm deletes as soon as it expires", async () => {
    await peer.send("GET", STATUS);
    pass(LIMITS.nonceRetentionSeconds * 1_000 - 1_000);
    await peer.send("GET", STATUS);
    await runDurableObjectAlarm(peer.bond());
    expect(await noncesOf(peer)).toHaveLength(2);
    pass(1_000);
    expect(await runDurableObjectAlarm(peer.bond()), "the alarm is armed again").toBe(true);
    expect(await noncesOf(peer)).toHaveLength(1);
  });
});

describe("expired nonces", () => {
  it("are deleted by alarms, a limited number each time, the oldest first", async () => {
    const many = await peerAt(1);
    const oldS = Math.floor(Date.now() / 1_000);
    await inBond(many, ({ admissions }) => {
      const limits = { requestsPerMinute: 1_000_000, eventsPerSecond: 1, workMsPerSecond: 1 };
      const request = { version: 2, kind: "request" } as const;
      // Two and a half times the limit of one alarm, a thousand for each second.
      const admitted = Array.from({ length: 2.5 * LIMITS.noncesPerPurge }, (_, n) => {
        const row = { nonce: n.toString(16).padStart(32, "0"), timestampSeconds: oldS + Math.floor(n / 1_000) };
        return admissions.admit({ ...request, ...row }, limits, Date.now());
      });
      return Promise.all(admitted);
    });
    await evictDurableObject(many.bond());
    pass(2 * LIMITS.nonceRetentionSeconds * 1_000);
    expect(await many.outcomeOf("GET", STATUS)).toBe("200");
    const purged = async () => {
      expect(await runDurableObjectAlarm(many.bond())).toBe(true);
      const nonces = await inBond(many, ({ admissions }) => admissions.storedNonces());
      return runInDurableObject(many.bond(), async (_bond, { storage }) => ({
        left: nonces.length,
        oldest: (nonces[0]?.timestampSeconds ?? 0) - oldS,
        through: (storage.kv.get<{ purgedThroughSeconds: number }>("traffic")?.purgedThroughSeconds ?? 0) - oldS,
        nextMs: ((await storage.getAlarm()) ?? 0) - Date.now(),
      }));
    };
    expect(await purged()).toEqual({ left: 15_001, oldest: 10, through: 9, nextMs: 1_000 });
    expect(await purged()).toEqual({ left: 5_001, oldest: 20, through: 19, nextMs: 1_000 });
    expect(await purged()).toEqual({ left: 1, oldest: 2 * LIMITS.nonceRetentionSeconds, through: 24, nextMs: 60_000 });
    expect(await many.outcomeOf("GET", STATUS)).toBe("200");
  });
});

describe("a request with a false signer or receiver", () => {
  it("reflection: a request that we signed ourselves is refused", async () => {
    await setPolicy({ legacy_signatures: "all" });
    for (const version of [1, 2] as const) {
      expect(await peer.outcomeOf("GET", STATUS, undefined, { origin: US, sign: OURS.sign, version })).toBe(REFUSED);
    }
  });

  it("reflection: a request that a peer sends back to us is refused", async () => {
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 }, 200);
    const [call] = await eventually(async () => peer.called(EVENTS).length > 0 && peer.called(EVENTS));
    const { method = "", target = "", body, headers = new Headers() } = call ?? {};
    const request = new Request(`https://pool.example${target}`, { method, body: JSON.stringify(body), headers });
    expect(request.headers.get(SIGNATURE_HEADERS.destination)).toBe(peer.id);
    expect(await outcome(await deliver(request.clone()))).toBe(REFUSED);
    request.headers.set(SIGNATURE_HEADERS.destination, US);
    expect(await outcome(await deliver(request))).toBe(REFUSED);
  });

  it("redirection: a request for a third pool is refused", async () => {
    const third = await PeerDouble.make();
    expect(await peer.outcomeOf("GET", STATUS, undefined, { destination: third.id })).toBe(REFUSED);
    const headers = { [SIGNATURE_HEADERS.destination]: US };
    expect(await peer.outcomeOf("GET", STATUS, undefined, { destination: third.id, headers }), "renamed").toBe(REFUSED);
  });

  it("swapped X-IAMINE-Atom-Id: a peer cannot sign as another", async () => {
    const other = await peerAt(1);
    const headers = { [SIGNATURE_HEADERS.atomId]: other.id };
    expect(await peer.outcomeOf("GET", STATUS, undefined, { headers })).toBe(REFUSED);
    expect(await peer.outcomeOf("GET", STATUS, undefined, { origin: other.id }), "signed under the other id").toBe(
      REFUSED,
    );
    expect(await noncesOf(other)).toEqual([]);
  });

  it("body: a peer cannot let this pool verify another peer's key in its own name", async () => {
    const other = await peerAt(1);
    const body = { atom_id: other.id, challenge_b64: challenge() };
    expect(await peer.outcomeOf("POST", VERIFY, body)).toBe(REFUSED);
    expect(await peer.outcomeOf("POST", VERIFY, { ...body, atom_id: peer.id })).toBe("200");
  });
});

describe("an altered request", () => {
  const chain = ["ab".repeat(32), "cd".repeat(32)];
  const pull = `${EVENTS}?since=1&limit=1`;

  it.each<[what: string, bend: Bend]>([
    ["query", { target: `${EVENTS}?since=0&limit=1` }],
    ["removed query", { target: EVENTS }],
    ["reordered query", { target: `${EVENTS}?limit=1&since=1` }],
    ["path", { target: STATUS }],
    ["hop", { headers: { [SIGNATURE_HEADERS.hop]: "1" } }],
    ["hop and chain", { headers: { [SIGNATURE_HEADERS.hop]: "1", [SIGNATURE_HEADERS.chain]: chain[0] ?? "" } }],
    ["chain", { chain, headers: { [SIGNATURE_HEADERS.chain]: [...chain].reverse().join(",") } }],
    [
      "shortened chain",
      { chain, headers: { [SIGNATURE_HEADERS.chain]: chain[0] ?? "", [SIGNATURE_HEADERS.hop]: "1" } },
    ],
    ["nonce", { headers: { [SIGNATURE_HEADERS.nonce]: freshNonce() } }],
    ["removed version", { headers: { [SIGNATURE_HEADERS.version]: null, [SIGNATURE_HEADERS.destination]: null } }],
  ])("with another %s is refused, and uses up no nonce", async (_what, bend) => {
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 }, 200);
    expect(await peer.outcomeOf("GET", pull, undefined, { chain: bend.chain ?? [] }), "unchanged").toBe("200");
    const before = await noncesOf(peer);
    expect(await peer.outcomeOf("GET", pull, undefined, bend)).toBe(REFUSED);
    expect(await noncesOf(peer)).toEqual(before);
  });

  it("with one changed byte of its body is refused", async () => {
    const body = JSON.stringify({ atom_id: peer.id, challenge_b64: challenge() });
    expect(await peer.outcomeOf("POST", VERIFY, body, { body: `${body} ` })).toBe(REFUSED);
    expect(await peer.outcomeOf("POST", VERIFY, body)).toBe("200");
  });

  it("with another timestamp in the window is refused", async () => {
    const headers = { [SIGNATURE_HEADERS.timestamp]: String(Math.floor(Date.now() / 1_000) + 1) };
    expect(await peer.outcomeOf("GET", STATUS, undefined, { headers })).toBe(REFUSED);
  });
});

describe("a forwarded request", () => {
  const [one, two, three] = ["ab".repeat(32), "cd".repeat(32), "ef".repeat(32)];
  it.each<[what: string, bend: Bend, want: string]>([
    ["by two pools is accepted", { chain: [one, two] }, "200"],
    ["by three pools is refused", { chain: [one, two, three] }, REFUSED],
    ["in a loop through us is refused", { chain: [one, US] }, REFUSED],
    ["by us is refused", { chain: [US] }, REFUSED],
    ["with a hop count below the chain length is refused", { chain: [one], hop: 0 }, REFUSED],
    ["with a hop count above the chain length is refused", { chain: [one], hop: 2 }, REFUSED],
  ])("%s", async (_what, bend, want) => expect(await peer.outcomeOf("GET", STATUS, undefined, bend)).toBe(want));
});

describe("a skewed clock", () => {
  it.each<[seconds: number, want: string]>([
    [-61, REFUSED],
    [-60, "200"],
    [60, "200"],
    [61, REFUSED],
  ])("%i s from ours", async (seconds, want) => {
    const timestampSeconds = Math.floor(Date.now() / 1_000) + seconds;
    expect(await peer.outcomeOf("GET", STATUS, undefined, { timestampSeconds })).toBe(want);
  });

  it("shows in the Date header of the answer", async () => {
    const timestampSeconds = Math.floor(Date.now() / 1_000) - 3_600;
    const response = await peer.send("GET", STATUS, undefined, { timestampSeconds });
    expect(Date.parse(response.headers.get("date") ?? "")).toBe(Math.floor(Date.now() / 1_000) * 1_000);
  });
});

describe("headers", () => {
  it.each(Object.values(SIGNATURE_HEADERS))("%s sent twice is refused", async (name) => {
    const request = await peer.request("GET", STATUS, undefined, { chain: ["ab".repeat(32)] });
    expect(await outcome(await deliver(new Request(request)))).toBe("200");
    const again = await peer.request("GET", STATUS, undefined, { chain: ["ab".repeat(32)] });
    again.headers.append(name, again.headers.get(name) ?? "");
    expect(await outcome(await deliver(again))).toBe(REFUSED);
  });

  it.each([
    SIGNATURE_HEADERS.atomId,
    SIGNATURE_HEADERS.timestamp,
    SIGNATURE_HEADERS.nonce,
    SIGNATURE_HEADERS.signature,
    SIGNATURE_HEADERS.destination,
  ])("a request without %s is refused", async (name) => {
    expect(await peer.outcomeOf("GET", STATUS, undefined, { headers: { [name]: null } })).toBe(REFUSED);
  });
});

describe("a key of small order, with which anyone can sign anything", () => {
  /** R = B and S = 1 is a valid signature of every message under the neutral element, and of some under the others. */
  const forged = async () => concat(Point.BASE.toBytes(), Uint8Array.of(1), new Uint8Array(31));
  const torsion = Point.fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a");
  const keys = Array.from({ length: 8 }, (_, i) => (i === 0 ? Point.ZERO : torsion.multiply(BigInt(i))).toBytes());

  it("registers no peer", async () => {
    const bonds = (await listDurableObjectIds(env.BOND)).length;
    for (const key of keys) {
      const card = peer.card({ public_key: toHex(key), atom_id: await idOfPublicKey(key) });
      for (let tries = 0; tries < 16; tries++) {
        const bend: Bend = { origin: card.atom_id, sign: forged };
        expect(
          await peer.outcomeOf("POST", "/api/federation/register", { card, challenge: freshNonce().repeat(2) }, bend),
        ).toBe(REFUSED);
      }
    }
    expect(await listDurableObjectIds(env.BOND)).toHaveLength(bonds);
  });
});

describe("a huge body", () => {
  it("that is announced by Content-Length is refused", async () => {
    expect(await peer.outcomeOf("POST", EVENTS, "", { body: new Uint8Array(LIMITS.federatedBodyBytes + 1) })).toBe(
      REFUSED,
    );
  });

  it("that never ends is read up to the limit and no further", async () => {
    let read = 0;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        read += 1;
        controller.enqueue(new Uint8Array(64 * 1024));
      },
    });
    expect(await peer.outcomeOf("POST", EVENTS, "", { body })).toBe(REFUSED);
    expect(read * 64 * 1024).toBeLessThan(3 * LIMITS.federatedBodyBytes);
  });
});

describe("endless bodies in the name of a peer", () => {
  it("block neither this peer nor others: the oldest are dropped and told to try again", async () => {
    const room = LIMITS.unauthenticatedBodiesBytes / LIMITS.unauthenticatedBodyMinBytes;
    const liar = await PeerDouble.make();
    const halves: ReadableStreamDefaultController<Uint8Array>[] = [];
    const stalled = () => {
      const start = (half: (typeof halves)[number]) => {
        halves.push(half);
        half.enqueue(new Uint8Array(1));
      };
      return peer.outcomeOf("POST", EVENTS, "", { sign: liar.signer.sign, body: new ReadableStream({ start }) });
    };
    const asked = Array.from({ length: room + 1 }, stalled);
    expect(await asked[0]).toBe("429 federation/rate-limited");
    expect(await peer.outcomeOf("POST", VERIFY, { atom_id: peer.id, challenge_b64: challenge() })).toBe("200");
    for (const half of halves.slice(-10)) half.close();
    expect(await Promise.all(asked.slice(-10))).toEqual(Array(10).fill(REFUSED));
    for (const half of halves.slice(1, -10)) half.close();
    await Promise.all(asked);
  });
});

describe("a refused request", () => {
  /** The whole answer without the time. */
  const whole = async (response: Response) => {
    const headers = [...response.headers].filter(([name]) => name !== "date");
    return JSON.stringify([response.status, headers.sort(), await response.text()]);
  };
  const id = { "x-request-id": "the-same" };

  it("has the same answer for an unknown peer, a bad signature and a replay", async () => {
    const stranger = await PeerDouble.make();
    const removed = await peerAt(1);
    await admin("DELETE", `/peers/${removed.id}`);
    const replayed = await peer.request("GET", STATUS, undefined, { headers: id });
    expect(await outcome(await deliver(replayed.clone()))).toBe("200");
    const sent: Record<string, Promise<Response>> = {
      "unknown peer": stranger.send("GET", STATUS, undefined, { headers: id }),
      "removed peer": removed.send("GET", STATUS, undefined, { headers: id }),
      "bad signature": peer.send("GET", STATUS, undefined, { sign: stranger.signer.sign, headers: id }),
      "bad signature of a stranger": stranger.send("GET", STATUS, undefined, { sign: peer.signer.sign, headers: id }),
      replay: deliver(replayed),
      skew: peer.send("GET", STATUS, undefined, { timestampSeconds: 1, headers: id }),
      "wrong destination": peer.send("GET", STATUS, undefined, { destination: stranger.id, headers: id }),
      "version 1": peer.send("GET", STATUS, undefined, { version: 1, headers: id }),
      "no headers": deliver(new Request(`https://pool.example${STATUS}`, { headers: id })),
      "too many hops": peer.send("GET", STATUS, undefined, { headers: { ...id, [SIGNATURE_HEADERS.hop]: "9" } }),
      "huge body": peer.send("POST", EVENTS, "x".repeat(LIMITS.federatedBodyBytes + 1), { headers: id }),
    };
    const answers = await Promise.all(
      Object.entries(sent).map(async ([what, response]) => [what, await whole(await response)] as const),
    );
    const [[, first = ""] = []] = answers;
    expect(first).toContain("federation/unauthenticated");
    for (const [what, answer] of answers) expect(answer, what).toBe(first);
  });

  it("costs D1 the same for unknown and known peers: almost nothing", async () => {
    const strangers = await Promise.all(Array.from({ length: 20 }, () => PeerDouble.make()));
    await peer.outcomeOf("GET", STATUS);
    const prepared = vi.spyOn(env.DB, "prepare");
    for (const stranger of strangers) {
      expect(await stranger.outcomeOf("GET", STATUS)).toBe("401 federation/unauthenticated");
      const badly = { sign: stranger.signer.sign };
      expect(await peer.outcomeOf("GET", STATUS, undefined, badly)).toBe("401 federation/unauthenticated");
    }
    expect(prepared.mock.calls).toEqual([]);
    // The clock stands still, so the keys never expire. A forced read shows that the spy sees reads.
    const known = await PeerDouble.make();
    await known.register();
    prepared.mockClear();
    expect(await known.outcomeOf("GET", STATUS)).toBe("200");
    const reads = prepared.mock.calls.flat().filter((query) => query.startsWith("select") && query.includes("peers"));
    expect(reads).toHaveLength(1);
    prepared.mockRestore();
  });

  it("leaves nothing but a counter by reason", async () => {
    const stranger = await PeerDouble.make();
    const counted = async () =>
      (await admin<{ refused_requests: Record<string, number> }>("GET", "/federation")).refused_requests;
    const before = await counted();
    const stored = await dump();
    await stranger.send("GET", STATUS);
    await peer.send("GET", STATUS, undefined, { sign: stranger.signer.sign });
    await peer.send("GET", STATUS, undefined, { timestampSeconds: 1 });
    expect(await dump()).toEqual(stored);
    const after = await counted();
    for (const reason of ["unknown-peer", "bad-signature", "clock-skew"])
      expect((after[reason] ?? 0) - (before[reason] ?? 0), reason).toBe(1);
  });

  /** The number of peer objects, of their rows, and of rows in D1. */
  async function dump() {
    const { results } = await env.DB.prepare("SELECT * FROM peers").all();
    return { results, bonds: (await listDurableObjectIds(env.BOND)).length, nonces: await noncesOf(peer) };
  }
});

describe("version 1", () => {
  const calls: Record<string, (of: PeerDouble) => Promise<string>> = {
    status: (of) => of.outcomeOf("GET", STATUS, undefined, { version: 1 }),
    pull: (of) => of.outcomeOf("GET", EVENTS, undefined, { version: 1 }),
    verify: (of) => of.outcomeOf("POST", VERIFY, { atom_id: of.id, challenge_b64: challenge() }, { version: 1 }),
    molecule: (of) => of.outcomeOf("GET", "/v1/federation/molecule", undefined, { version: 1 }),
    push: async (of) => of.outcomeOf("POST", EVENTS, { events: [{ event: await of.event(), ttl: 3 }] }, { version: 1 }),
    handshake: (of) => of.outcomeOf("POST", "/v1/federation/handshake", hello(of), { version: 1 }),
    register: (of) =>
      of.outcomeOf(
        "POST",
        "/api/federation/register",
        { card: of.card(), challenge: freshNonce().repeat(2) },
        { version: 1 },
      ),
  };
  const hello = (of: PeerDouble) => ({
    atom_id: of.id,
    name: "old",
    pubkey_hex: toHex(of.signer.publicKey),
    url: of.url,
    molecule_id: null,
    capabilities: [],
    request_reciprocation: false,
  });
  const shakeHands = async () => {
    const old = await PeerDouble.make();
    old.version = 1;
    expect(await calls.handshake?.(old)).toBe("200");
    await admin("PUT", `/peers/${old.id}/trust`, { level: 2 }, 200);
    return old;
  };

  it.each<[legacy: FederationPolicy["legacy_signatures"], heard: string[]]>([
    ["off", []],
    ["reads", ["status", "pull", "verify", "molecule", "handshake"]],
    ["all", ["status", "pull", "verify", "molecule", "handshake", "push"]],
  ])("with legacy_signatures %s is accepted for %j", async (legacy, accepted) => {
    await setPolicy({ legacy_signatures: "reads" });
    const old = await shakeHands();
    pass(60_000);
    await setPolicy({ legacy_signatures: legacy });
    const answers = Object.entries(calls).map(async ([what, call]) => [what, await call(old)] as const);
    expect(Object.fromEntries(await Promise.all(answers))).toEqual(
      Object.fromEntries(Object.keys(calls).map((what) => [what, accepted.includes(what) ? "200" : REFUSED])),
    );
  });

  it("is neither accepted from a peer that has used version 2, nor sent to it", async () => {
    await setPolicy({ legacy_signatures: "all" });
    const old = await shakeHands();
    expect(await calls.status?.(old)).toBe("200");
    expect(await old.outcomeOf("GET", STATUS)).toBe("200");
    pass(60_000);
    await evictDurableObject(old.bond());
    old.calls.length = 0;
    for (const [what, call] of Object.entries(calls)) expect(await call(old), what).toBe(REFUSED);
    // Also when its card offers version 1 only: a card is not signed.
    old.version = 2;
    old.answer = (request) =>
      request.url.endsWith("/v1/federation/info") ? Response.json(old.version1.card) : undefined;
    await admin("POST", "/peers", { url: old.url }, 201);
    await admin("PUT", `/peers/${old.id}/trust`, { level: 1 }, 200);
    await eventually(async () => old.called(EVENTS).length > 0);
    const signed = old.calls.filter(({ headers }) => headers.has(SIGNATURE_HEADERS.signature));
    expect(signed.filter(({ headers }) => headers.get(SIGNATURE_HEADERS.version) !== "2")).toEqual([]);
  });

  it("for another pool replays here at most once, within the window", async () => {
    await setPolicy({ legacy_signatures: "reads" });
    const old = await shakeHands();
    const request = await old.request("GET", STATUS, undefined, { version: 1 });
    expect(await outcome(await deliver(request.clone()))).toBe("200");
    expect(await outcome(await deliver(request))).toBe(REFUSED);
  });
});

describe("the rate of a peer", () => {
  const verify = (of: PeerDouble, bend?: Bend) =>
    of.send("POST", VERIFY, { atom_id: of.id, challenge_b64: challenge() }, bend);
  const many = async (n: number, call: () => Promise<Response>) => {
    const answers = await Promise.all(Array.from({ length: n }, async () => outcome(await call())));
    return answers.filter((each) => each === "200").length;
  };

  it("is sixty requests a minute, separate from other peers", async () => {
    expect(await many(70, () => verify(peer))).toBe(LIMITS.peerRequestsPerMinute);
    const limited = await verify(peer);
    expect(await outcome(limited.clone())).toBe("429 federation/rate-limited");
    expect(limited.headers.get("retry-after")).toBe("1");
    expect(await outcome(await verify(await peerAt(1)))).toBe("200");
    expect(await peer.outcomeOf("GET", STATUS), "event sync of a peer below trust 2 is a request").toMatch(/^429/);
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 });
    expect(await peer.outcomeOf("GET", STATUS), "the rate of other requests is separate").toBe("200");
    pass(1_000);
    expect(await many(3, () => verify(peer))).toBe(1);
  });

  it("is sixty a second at the event endpoints", async () => {
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 });
    expect(await many(70, () => peer.send("GET", STATUS))).toBe(LIMITS.peerEventRequestsPerSecond);
    pass(1_000);
    expect(await many(70, () => peer.send("GET", STATUS))).toBe(LIMITS.peerEventRequestsPerSecond);
  });

  it("stores nothing of a limited request, which passes later", async () => {
    await many(LIMITS.peerRequestsPerMinute, () => verify(peer));
    const body = JSON.stringify({ atom_id: peer.id, challenge_b64: challenge() });
    const limited = await peer.request("POST", VERIFY, body);
    expect(await outcome(await deliver(limited.clone()))).toBe("429 federation/rate-limited");
    expect(await noncesOf(peer)).toHaveLength(LIMITS.peerRequestsPerMinute);
    pass(1_000);
    expect(await outcome(await deliver(limited.clone()))).toBe("200");
    expect(await outcome(await deliver(limited)), "once").toMatch(/^4/);
  });

  it("is not used up by forged requests in the peer's name", async () => {
    const stranger = await signerFrom(generateSecretKey());
    await many(70, () => verify(peer, { sign: stranger.sign }));
    const replayed = await peer.request("GET", STATUS);
    await deliver(replayed.clone());
    await many(70, () => deliver(replayed.clone()));
    expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
    expect(await outcome(await verify(peer))).toBe("200");
  });
});
