import { evictDurableObject, listDurableObjectIds, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { toHex } from "../../schema/crypto/bytes.ts";
import { type Registration, signRegistrationProof } from "../../schema/crypto/registration-proof.ts";
import { FEDERATION_POLICY_DEFAULTS, type FederationPolicy, type PeerView } from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import { freshPool, OURS, outcome, PeerDouble, peerAt, setPolicy } from "./peer-double.ts";
import { admin } from "./support.ts";

/** docs/spec/federation.md#registration: which pool becomes a peer, and what a stranger can leave behind. */

const POLICY = { max_peers: 0, require_mutual: true, auto_accept_known: false, min_auth_tier: "device-bound" } as const;
beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  await freshPool();
});
beforeEach(async () => {
  // Stay below the rate of registrations.
  pass(60_000);
  await setPolicy({ ...POLICY, legacy_signatures: "off", allow_private_peers: false });
});
afterAll(() => vi.useRealTimers());
const pass = (ms: number) => vi.setSystemTime(Date.now() + ms);

const STATUS = "/api/federation/status";
const REGISTER = "/api/federation/register";
const UNAUTHENTICATED = "401 federation/unauthenticated";
const CHALLENGE_REFUSED = "409 federation/challenge-refused";
const REFUSED = "403 federation/registration-refused";
const LIMITED = "429 federation/rate-limited";

const peersListed = async () => (await admin<{ peers: PeerView[] }>("GET", "/peers")).peers;
const isListed = async ({ id }: PeerDouble) => (await peersListed()).some((peer) => peer.atom_id === id);
const trust = (peer: PeerDouble, level: number, want = 200) => admin("PUT", `/peers/${peer.id}/trust`, { level }, want);
const register = async (peer: PeerDouble, card = peer.card()) => outcome(await peer.register(card));
const randomHex = (bytes: number) => toHex(crypto.getRandomValues(new Uint8Array(bytes)));

async function started(peer: PeerDouble): Promise<Registration> {
  const registration = await peer.startRegistration();
  if (registration instanceof Response) throw new Error(await outcome(registration));
  return registration;
}

/** How many rows and objects a stranger could have made. */
async function footprint() {
  // What the requests of earlier tests have started.
  await env.EVENT_LOG.getByName("pool").flushRecords();
  const { results } = await env.DB.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all<{
    name: string;
  }>();
  const own = results.map(({ name }) => name).filter((name) => !/^(_cf|sqlite|d1)_/.test(name));
  const rows = await Promise.all(
    own.map(async (name) => [name, await env.DB.prepare(`SELECT count(*) FROM "${name}"`).first("count(*)")]),
  );
  const spaces = [env.BOND, env.EVENT_LOG, env.ACCOUNT, env.LANE] as DurableObjectNamespace<undefined>[];
  const objects = await Promise.all(spaces.map(async (space) => (await listDurableObjectIds(space)).length));
  return { rows: Object.fromEntries(rows), objects };
}

/** What the database of a peer's `Bond` holds: a database of a single page is empty. */
const leftOf = (peer: PeerDouble) =>
  runInDurableObject(peer.bond(), (_bond, { storage }) => ({
    kept: [...storage.kv.list()].length,
    tables: storage.sql.exec("SELECT name FROM sqlite_schema").toArray(),
    bytes: storage.sql.databaseSize,
  }));
const NOTHING = { kept: 0, tables: [], bytes: 4_096 };

describe("a challenge", () => {
  let peer: PeerDouble;
  beforeEach(async () => {
    peer = await PeerDouble.make();
  });
  const confirm = async (registration: Registration, bend: Parameters<PeerDouble["confirm"]>[1] = {}) =>
    outcome(await peer.confirm(registration, bend));

  it("with a valid answer registers a peer at trust 1", async () => {
    expect(await register(peer)).toBe("200");
    expect(await peer.seen()).toMatchObject({ granted: 1, effective: 1, added_by: "peer", url: peer.url });
    expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
  });

  it("is accepted once, also for simultaneous requests", async () => {
    const registration = await started(peer);
    const answers = await Promise.all(Array.from({ length: 9 }, () => confirm(registration)));
    expect(answers.sort()).toEqual(["200", ...answers.slice(1).map(() => CHALLENGE_REFUSED)]);
    expect(await confirm(registration)).toBe(CHALLENGE_REFUSED);
  });

  it("expires after a minute, and not before", async () => {
    const registration = await started(peer);
    pass(LIMITS.registrationChallengeMs);
    expect(await confirm(registration)).toBe(CHALLENGE_REFUSED);
    const other = await started(peer);
    pass(LIMITS.registrationChallengeMs - 1);
    expect(await confirm(other)).toBe("200");
  });

  it("stays expired when the clock steps back", async () => {
    const registration = await started(peer);
    expect(await confirm(registration)).toBe("200");
    pass(LIMITS.registrationChallengeMs + 1);
    expect(await register(await PeerDouble.make())).toBe("200");
    pass(-LIMITS.registrationChallengeMs - 1);
    expect(await confirm(registration)).toBe(CHALLENGE_REFUSED);
  });

  it("of one key is not accepted from another", async () => {
    const registration = await started(peer);
    const thief = await PeerDouble.make();
    const stolen = { ...registration, initiator: { ...registration.initiator, card: thief.card() } };
    expect(await outcome(await thief.confirm(stolen))).toBe(CHALLENGE_REFUSED);
    // In the name of its owner, signed by the thief: first the request, and then only the proof.
    expect(await outcome(await thief.confirm(registration, { origin: peer.id }))).toBe(UNAUTHENTICATED);
    expect(await outcome(await thief.confirm(registration))).toBe(UNAUTHENTICATED);
    const proof = await signRegistrationProof(thief.signer, "initiator", registration);
    expect(await confirm(registration, { proof })).toBe(CHALLENGE_REFUSED);
    expect(await isListed(thief)).toBe(false);
    expect(await confirm(registration)).toBe("200");
  });

  it.each<[what: string, bend: (registration: Registration) => Registration]>([
    [
      "a card of another name",
      ({ initiator, ...r }) => ({ ...r, initiator: { ...initiator, card: { ...initiator.card, name: "x" } } }),
    ],
    [
      "a card of another URL",
      ({ initiator, ...r }) => ({
        ...r,
        initiator: { ...initiator, card: { ...initiator.card, url: "https://x.example" } },
      }),
    ],
    [
      "one changed digit",
      ({ responder, ...r }) => ({
        ...r,
        responder: { ...responder, challenge: responder.challenge.replace(/.$/, (last) => (last === "0" ? "1" : "0")) },
      }),
    ],
    [
      "a later expiry",
      ({ responder, ...r }) => ({
        ...r,
        responder: { ...responder, challenge: `0${"f".repeat(15)}${responder.challenge.slice(16)}` },
      }),
    ],
    [
      "a challenge that this pool never made",
      ({ responder, ...r }) => ({ ...r, responder: { ...responder, challenge: randomHex(120) } }),
    ],
  ])("with %s is refused", async (_what, bend) => {
    expect(await confirm(bend(await started(peer)))).toBe(CHALLENGE_REFUSED);
    expect(await isListed(peer)).toBe(false);
  });

  it.each<[what: string, made: (registration: Registration) => Promise<string>]>([
    ["the other role", (r) => signRegistrationProof(peer.signer, "responder", r)],
    [
      "the cards swapped",
      ({ initiator: i, responder: r }) =>
        signRegistrationProof(peer.signer, "initiator", {
          initiator: { ...i, card: r.card },
          responder: { ...r, card: i.card },
        }),
    ],
    [
      "the challenges swapped",
      ({ initiator: i, responder: r }) =>
        signRegistrationProof(peer.signer, "initiator", {
          initiator: { ...i, challenge: r.challenge },
          responder: { ...r, challenge: i.challenge },
        }),
    ],
    [
      "another challenge of its own",
      ({ initiator: i, responder: r }) =>
        signRegistrationProof(peer.signer, "initiator", {
          initiator: { ...i, challenge: randomHex(32) },
          responder: r,
        }),
    ],
    [
      "another card of ours",
      ({ initiator: i, responder: r }) =>
        signRegistrationProof(peer.signer, "initiator", {
          initiator: i,
          responder: { ...r, card: { ...r.card, name: "x" } },
        }),
    ],
    ["our own proof sent back", (r) => signRegistrationProof(OURS, "responder", r)],
  ])("with a proof of %s is refused", async (_what, made) => {
    const registration = await started(peer);
    expect(await confirm(registration, { proof: await made(registration) })).toBe(CHALLENGE_REFUSED);
    expect(await isListed(peer)).toBe(false);
  });
});

describe("strangers", () => {
  it("a thousand of them that start to register leave no object, no row and no file", async () => {
    const before = await footprint();
    for (let i = 0; i < 20; i++) {
      const answers = Array.from({ length: 50 }, async () => {
        const stranger = await PeerDouble.make();
        const registration = await started(stranger);
        // Half of them continue, with an invalid proof.
        if (i % 2) return "200";
        return outcome(await stranger.confirm(registration, { proof: `${"A".repeat(86)}==` }));
      });
      expect(new Set(await Promise.all(answers))).toEqual(new Set([i % 2 ? "200" : CHALLENGE_REFUSED]));
    }
    expect(await footprint()).toEqual(before);
  });

  it("become peers at ten a minute, and the eleventh leaves nothing", async () => {
    const before = await footprint();
    const strangers = await Promise.all(Array.from({ length: 15 }, () => PeerDouble.make()));
    const answers = await Promise.all(strangers.map((stranger) => register(stranger)));
    expect(answers.filter((each) => each === "200")).toHaveLength(LIMITS.registrationsPerMinute);
    expect(answers.filter((each) => each === LIMITED)).toHaveLength(5);
    const after = await footprint();
    expect(after.rows.peers).toBe((before.rows.peers as number) + LIMITS.registrationsPerMinute);
    expect(after.objects[0]).toBe((before.objects[0] ?? 0) + LIMITS.registrationsPerMinute);
    const limited = await (await PeerDouble.make()).register();
    expect(limited.headers.get("retry-after")).toBe("60");
    pass(60_000);
    expect(await register(await PeerDouble.make())).toBe("200");
  });
});

describe("a hundred peers at low trust", () => {
  let byAdmin: PeerDouble;
  let revoked: PeerDouble;
  let gone: PeerDouble;
  let crowd: PeerDouble[];
  const next = async () => {
    pass(60_000 / LIMITS.registrationsPerMinute);
    const stranger = await PeerDouble.make();
    expect(await register(stranger)).toBe("200");
    return stranger;
  };

  beforeAll(async () => {
    await freshPool();
    byAdmin = await PeerDouble.make();
    await admin("POST", "/peers", { url: byAdmin.url, atom_id: byAdmin.id });
    revoked = await next();
    await trust(revoked, 0);
    gone = await next();
    await trust(gone, 0);
    await admin("DELETE", `/peers/${gone.id}`);
    crowd = [await next(), await next()];
    while (crowd.length < LIMITS.lowTrustPeers - 2) {
      pass(60_000);
      const few = Math.min(LIMITS.registrationsPerMinute, LIMITS.lowTrustPeers - 2 - crowd.length);
      crowd.push(...(await Promise.all(Array.from({ length: few }, () => peerAt(1)))));
    }
    pass(60_000);
  });

  it("are the maximum: for a new one the oldest that no admin decided about is evicted, and it leaves nothing", async () => {
    const [oldest, second] = crowd as [PeerDouble, PeerDouble];
    expect(await peersListed()).toHaveLength(LIMITS.lowTrustPeers);
    const stranger = await next();
    expect(await isListed(stranger)).toBe(true);
    expect(await isListed(oldest)).toBe(false);
    for (const peer of [byAdmin, revoked, second]) expect(await isListed(peer)).toBe(true);
    expect(await env.DB.prepare("SELECT id FROM peers WHERE id = ?").bind(oldest.id).first()).toBe(null);
    expect(await oldest.outcomeOf("GET", STATUS)).toBe(UNAUTHENTICATED);
    expect(await leftOf(oldest)).toEqual(NOTHING);
    // Also when it is woken once more, by an object that does not know of the eviction yet.
    await evictDurableObject(oldest.bond());
    expect(await oldest.bond().effectiveTrust("oauth-verified")).toBe(0);
    expect(await leftOf(oldest)).toEqual(NOTHING);
  });

  it("keep a peer that our admin decides about during its eviction", async () => {
    const peer = crowd.at(-1) as PeerDouble;
    const policy = { ...FEDERATION_POLICY_DEFAULTS, ...POLICY };
    const [, decided] = await Promise.all([
      peer.bond().evict(),
      peer.bond().decide(1, { name: "admin", tokenId: "admin" }, policy),
    ]);
    expect(decided).toMatchObject({ ok: true });
    expect(await isListed(peer)).toBe(true);
    expect(await peer.seen()).toMatchObject({ granted: 1 });
  });

  it("accept an evicted peer again, without anything of its old state", async () => {
    const [back] = crowd as [PeerDouble];
    pass(6_000);
    expect(await register(back)).toBe("200");
    expect(await back.seen()).toMatchObject({ granted: 1, received: 0, added_at_ms: Date.now() });
    expect(await back.outcomeOf("GET", STATUS)).toBe("200");
    expect(await peersListed()).toHaveLength(LIMITS.lowTrustPeers);
  });

  it("evict no peer for a revoked peer that tries to register again, removed or not", async () => {
    const before = (await peersListed()).map((peer) => peer.atom_id);
    for (const peer of [revoked, gone]) expect(await register(peer)).toBe(REFUSED);
    expect((await peersListed()).map((peer) => peer.atom_id)).toEqual(before);
  });

  it("evict no peer for one of them that registers again", async () => {
    const before = (await peersListed()).map((peer) => peer.atom_id);
    pass(6_000);
    expect(await register(crowd.at(-2) as PeerDouble)).toBe("200");
    expect((await peersListed()).map((peer) => peer.atom_id)).toEqual(before);
  });

  it("admit no other peer if our admin decided about all of them, and the answer says so", async () => {
    const all = await peersListed();
    await Promise.all(all.map((peer) => admin("PUT", `/peers/${peer.atom_id}/trust`, { level: 1 }, 200)));
    pass(6_000);
    expect(await register(await PeerDouble.make())).toBe("409 federation/too-many-peers");
    expect(await isListed(byAdmin)).toBe(true);
  });
});

describe("a former peer", () => {
  beforeAll(() => freshPool());

  it("that was revoked cannot return by a registration or a handshake; our admin can add it again", async () => {
    await setPolicy({ legacy_signatures: "all" });
    const peer = await peerAt(2);
    await trust(peer, 0);
    expect(await register(peer)).toBe(REFUSED);
    expect(await peer.outcomeOf("POST", "/v1/federation/handshake", hello(peer))).toBe(REFUSED);
    expect(await peer.outcomeOf("GET", STATUS)).toBe("403 federation/untrusted");
    expect(await peer.seen()).toMatchObject({ granted: 0, effective: 0, revoked_at_ms: Date.now() });
    await trust(peer, 1);
    expect(await peer.outcomeOf("GET", STATUS)).toBe("200");
  });

  it("that was removed leaves its tombstone: no old nonce is accepted, and no old grant counts", async () => {
    const peer = await peerAt(3);
    const old = await peer.grant(3);
    await peer.push([old]);
    await peer.push([await peer.grant(1)]);
    const spent = await peer.request("GET", STATUS);
    expect(await outcome(await peer.replay(spent))).toBe("200");
    await admin("DELETE", `/peers/${peer.id}`);
    expect(await isListed(peer)).toBe(false);
    expect(await peer.outcomeOf("GET", STATUS)).toBe(UNAUTHENTICATED);
    pass(1_000);
    expect(await register(peer)).toBe("200");
    expect(await outcome(await peer.replay(spent))).toBe(UNAUTHENTICATED);
    await peer.push([old]);
    expect(await peer.seen()).toMatchObject({ granted: 1, received: 1, effective: 1 });
  });

  it.each<[known: boolean, decided: number, comesBackAt: number]>([
    [false, 3, 1],
    [true, 3, 3],
    [true, 1, 1],
  ])(
    "that was removed returns, with auto_accept_known %s, from %i to %i",
    async (auto_accept_known, decided, comesBackAt) => {
      await setPolicy({ auto_accept_known });
      const peer = await peerAt(3);
      await trust(peer, decided);
      await admin("DELETE", `/peers/${peer.id}`);
      expect(await register(peer)).toBe("200");
      expect(await peer.seen()).toMatchObject({ granted: comesBackAt });
    },
  );
});

describe("a peer's name and URL", () => {
  it("change by a registration with its key", async () => {
    const peer = await peerAt(1);
    expect(await register(peer, peer.card({ name: "renamed", url: "https://moved.example" }))).toBe("200");
    expect(await peer.seen()).toMatchObject({ name: "renamed", url: "https://moved.example", granted: 1 });
  });

  it("do not change by a registration or a handshake with another key", async () => {
    await setPolicy({ legacy_signatures: "all" });
    const peer = await peerAt(1);
    const thief = await PeerDouble.make();
    const card = peer.card({ url: thief.url });
    const body = { card, challenge: randomHex(32) };
    expect(await thief.outcomeOf("POST", REGISTER, body)).toBe(UNAUTHENTICATED);
    expect(await thief.outcomeOf("POST", REGISTER, body, { origin: peer.id })).toBe(UNAUTHENTICATED);
    const mine = peer.card({ url: thief.url, public_key: toHex(thief.signer.publicKey) });
    expect(await thief.outcomeOf("POST", REGISTER, { ...body, card: mine }, { origin: peer.id })).toBe(UNAUTHENTICATED);
    for (const version of [1, 2] as const) {
      const greeting = { ...hello(peer), url: thief.url };
      expect(await thief.outcomeOf("POST", "/v1/federation/handshake", greeting, { version })).toBe(UNAUTHENTICATED);
      expect(await thief.outcomeOf("POST", "/v1/federation/handshake", greeting, { version, origin: peer.id })).toBe(
        UNAUTHENTICATED,
      );
    }
    expect(await peer.seen()).toMatchObject({ url: peer.url, name: "double" });
  });
});

describe("the policy", () => {
  it.each<[policy: Partial<FederationPolicy>, url: string, want: string]>([
    [{}, "https://peer.example", "200"],
    [{}, "http://peer.example", REFUSED],
    [{}, "http://127.0.0.1:8787", REFUSED],
    [{ allow_private_peers: true }, "http://127.0.0.1:8787", "200"],
    [{ allow_private_peers: true, min_auth_tier: "oauth-verified" }, "http://peer.example", "200"],
    [{ min_auth_tier: "hardware-attested" }, "https://peer.example", REFUSED],
  ])("%j and a card with %s", async (policy, url, want) => {
    const peer = await PeerDouble.make();
    await setPolicy(policy);
    expect(await register(peer, peer.card({ url, auth_tier: "hardware-attested" }))).toBe(want);
    expect(await isListed(peer)).toBe(want === "200");
  });

  it.each([
    "https://peer.example/",
    "https://user@peer.example",
    "https://peer.example/x",
    "https://PEER.example",
    "ftp://peer.example",
    "https://peer.example:443",
  ])("refuses %s as the URL of a card", async (url) => {
    const peer = await PeerDouble.make();
    expect(await register(peer, peer.card({ url }))).toBe("400 http/invalid-body");
  });

  it("counts if it changes between register and confirm", async () => {
    const peer = await PeerDouble.make();
    const registration = await started(peer);
    await setPolicy({ min_auth_tier: "hardware-attested" });
    expect(await outcome(await peer.confirm(registration))).toBe(REFUSED);
  });

  it("that would refuse the peer is what our admin gets as the error, and no pool is called", async () => {
    const peer = await PeerDouble.make();
    await setPolicy({ min_auth_tier: "hardware-attested" });
    const { error } = await admin<{ error: { code: string } }>("POST", "/peers", { url: peer.url }, 409);
    expect(error.code).toBe("tier_refused");
    expect(peer.calls).toEqual([]);
  });

  it("gives a revoked pool the same answer as a pool whose card it refuses", async () => {
    const [revoked, elsewhere] = [await peerAt(1), await PeerDouble.make()];
    await admin("PUT", `/peers/${revoked.id}/trust`, { level: 0 }, 200);
    const card = elsewhere.card({ url: "http://127.0.0.1:8787" });
    const refusals = [await revoked.register(), await elsewhere.register(card)];
    const bodies = await Promise.all(refusals.map((each) => each.text()));
    expect(refusals.map(({ status }) => status)).toEqual([403, 403]);
    expect(bodies[0]).toBe(bodies[1]);
    expect(bodies[0]).toMatch(/may have revoked that pool, or may not allow a URL/);
  });

  it("gives no effect to the trust of a peer that it does not accept any more", async () => {
    const peer = await peerAt(2);
    await setPolicy({ min_auth_tier: "hardware-attested" });
    expect(await peer.outcomeOf("GET", STATUS)).toBe("403 federation/untrusted");
    expect(await peer.seen()).toMatchObject({ granted: 2, effective: 0 });
  });
});

describe("max_peers", () => {
  const counted = async () => (await peersListed()).filter((peer) => peer.granted >= 2).length;
  beforeEach(async () => {
    await freshPool({ max_peers: 2 });
  });

  it("holds for simultaneous decisions of two admins", async () => {
    const peers = await Promise.all(Array.from({ length: 6 }, () => peerAt(1)));
    const decided = peers.map((peer) =>
      trust(peer, 2).then(
        () => true,
        () => false,
      ),
    );
    expect((await Promise.all(decided)).filter(Boolean)).toHaveLength(2);
    expect(await counted()).toBe(2);
    const [first] = (await peersListed()).filter((peer) => peer.granted >= 2);
    await admin("PUT", `/peers/${first?.atom_id}/trust`, { level: 1 }, 200);
    const [waiting] = (await peersListed()).filter((peer) => peer.granted < 2 && peer.atom_id !== first?.atom_id);
    await admin("PUT", `/peers/${waiting?.atom_id}/trust`, { level: 2 }, 200);
    await admin("PUT", `/peers/${first?.atom_id}/trust`, { level: 2 }, 409);
  });

  it("holds for peers that return at the same time", async () => {
    await setPolicy({ auto_accept_known: true, max_peers: 0 });
    const peers = await Promise.all(Array.from({ length: 4 }, () => peerAt(2)));
    for (const peer of peers) await admin("DELETE", `/peers/${peer.id}`);
    await setPolicy({ max_peers: 2 });
    pass(60_000);
    expect(new Set(await Promise.all(peers.map((peer) => register(peer))))).toEqual(new Set(["200"]));
    expect(await counted()).toBe(2);
  });

  it("holds for simultaneous grants that are answered automatically", async () => {
    await setPolicy({ require_mutual: false });
    const peers = await Promise.all(Array.from({ length: 4 }, () => peerAt(1)));
    await Promise.all(peers.map(async (peer) => peer.push([await peer.grant(2)])));
    expect(await counted()).toBe(2);
  });
});

const hello = (of: PeerDouble) => ({
  atom_id: of.id,
  name: "old",
  pubkey_hex: toHex(of.signer.publicKey),
  url: of.url,
  molecule_id: null,
  capabilities: [],
  request_reciprocation: false,
});

describe("a handshake of the existing network", () => {
  const VERIFY = "/v1/federation/verify";
  const shake = async (peer: PeerDouble, version: 1 | 2 = 1, changes = {}) =>
    outcome(await peer.send("POST", "/v1/federation/handshake", { ...hello(peer), ...changes }, { version }));
  let peer: PeerDouble;
  beforeEach(async () => {
    await setPolicy({ legacy_signatures: "reads" });
    peer = await PeerDouble.make();
    peer.version = 1;
  });

  it("gives trust 1, after this pool called its sender back at the sender's URL", async () => {
    const response = await peer.send("POST", "/v1/federation/handshake", hello(peer), { version: 1 });
    expect(await response.json()).toMatchObject({
      ok: true,
      peer_trust_level: 1,
      signature_verified: true,
      already_known: false,
      self: { atom_id: OURS.id },
    });
    // It does not know this pool before it has this pool's handshake.
    expect(peer.called(VERIFY)).toHaveLength(2);
    expect(peer.called(VERIFY).some(({ headers }) => headers.has("x-iamine-version"))).toBe(false);
    expect(await peer.seen()).toMatchObject({ granted: 1, signature_version: 1, auth_tier: "device-bound" });
  });

  it.each<[what: string, answer: PeerDouble["answer"]]>([
    ["does not answer", () => Promise.reject(new TypeError("refused"))],
    ["answers an error", () => new Response("no", { status: 500 })],
    ["answers something unexpected", () => Response.json({ ok: true })],
    ["redirects", () => Response.redirect("https://elsewhere.example", 307)],
    ["has another key", () => Response.json({ signed_response_b64: `${"A".repeat(86)}==` })],
  ])("registers no peer whose URL %s", async (_what, answer) => {
    const before = await footprint();
    peer.answer = answer;
    expect(await shake(peer)).toBe(REFUSED);
    expect(await footprint()).toEqual(before);
  });

  it("makes this pool call a host at most once a minute, for any sender and port", async () => {
    const victim = await PeerDouble.make();
    expect(await shake(peer, 1, { url: victim.url })).toBe(REFUSED);
    for (let i = 0; i < 5; i++) {
      expect(await shake(await PeerDouble.make(), 1, { url: victim.url })).toBe(LIMITED);
      expect(await shake(await PeerDouble.make(), 1, { url: `${victim.url}:${8443 + i}` })).toBe(LIMITED);
    }
    expect(victim.calls).toHaveLength(1);
    pass(60_000);
    expect(await shake(peer, 1, { url: victim.url })).toBe(REFUSED);
    expect(victim.calls).toHaveLength(2);
  });

  it("makes this pool call at most a hundred hosts", async () => {
    const asked = await Promise.all(
      Array.from({ length: LIMITS.reverseVerifyHosts + 5 }, async (_, i) =>
        shake(await PeerDouble.make(), 1, { url: `https://nobody-${i}.example` }),
      ),
    );
    expect(asked.filter((each) => each === REFUSED)).toHaveLength(LIMITS.reverseVerifyHosts);
    expect(asked.filter((each) => each === LIMITED)).toHaveLength(5);
  });

  it("that is replayed registers no peer twice", async () => {
    const request = await peer.request("POST", "/v1/federation/handshake", hello(peer), { version: 1 });
    expect(await outcome(await peer.replay(request))).toBe("200");
    expect(await outcome(await peer.replay(request))).toBe(LIMITED);
    pass(60_000);
    expect(await outcome(await peer.replay(request))).toBe(CHALLENGE_REFUSED);
  });

  it("is accepted in version 2 whatever the policy allows of version 1", async () => {
    await setPolicy({ legacy_signatures: "off" });
    peer.version = 2;
    expect(await shake(peer, 2)).toBe("200");
    expect(await peer.seen()).toMatchObject({ signature_version: 2 });
  });
});
