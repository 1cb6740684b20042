/** Pools of the existing network, which speak version 1. The double is that of `test/version-1-pool.ts`. */
import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { PeerView } from "../../schema/wire/federation.ts";
import { freshPool, outcome, PeerDouble, peerAt, setPolicy, US } from "./peer-double.ts";
import { admin, ask, eventually } from "./support.ts";

const INFO = "/v1/federation/info";
const HANDSHAKE = "/v1/federation/handshake";
const VERIFY = "/v1/federation/verify";

beforeAll(() => freshPool());
beforeEach(() => setPolicy({ federation: "on", legacy_signatures: "all" }));

const targetsOf = (of: PeerDouble) => of.calls.map(({ target }) => target);
const isKnown = async ({ id }: PeerDouble) =>
  (await env.DB.prepare("SELECT id FROM peers WHERE id = ?").bind(id).first()) !== null;

/** `card`: changes to its `/info`. */
async function existingPool(card: object = {}): Promise<PeerDouble> {
  const double = await PeerDouble.make();
  double.version = 1;
  double.answer = (request) =>
    request.url.endsWith(INFO) ? Response.json({ ...double.version1.card, ...card }) : undefined;
  return double;
}

const add = (url: string) =>
  ask("/admin/api/peers", {
    method: "POST",
    headers: { authorization: `Bearer ${env.ADMIN_TOKEN}` },
    body: JSON.stringify({ url }),
  });

const shakeHands = (double: PeerDouble) => double.send("POST", HANDSHAKE, double.version1.hello, { version: 1 });

describe("first contact begun by a pool of the existing network", () => {
  it("succeeds: the pool does not know us until it has our handshake, and is asked again after it", async () => {
    const peer = await existingPool();
    const answer = await shakeHands(peer);
    expect(await answer.json()).toMatchObject({ ok: true, peer_trust_level: 1, already_known: false });
    expect(targetsOf(peer)).toEqual([INFO, VERIFY, HANDSHAKE, VERIFY]);
    const [ours] = peer.called(HANDSHAKE);
    expect(ours?.body).toMatchObject({ atom_id: US, request_reciprocation: false });
    expect(ours?.body).toHaveProperty("capabilities", [{ kind: "chat" }, { kind: "events" }, { kind: "listed" }]);
    expect(await peer.seen()).toMatchObject({ effective: 1, signature_version: 1, added_by: "peer" });
  });

  it("is refused when the pool still does not know us after our handshake", async () => {
    const peer = await existingPool();
    peer.answer = (request) =>
      request.url.endsWith(VERIFY) ? Response.json({ error: "unknown peer" }, { status: 404 }) : undefined;
    expect(await outcome(await shakeHands(peer))).toBe("403 federation/registration-refused");
    expect(targetsOf(peer)).toEqual([INFO, VERIFY, HANDSHAKE, VERIFY]);
    expect(await isKnown(peer)).toBe(false);
  });

  it("makes us send no handshake to a pool that speaks version 2", async () => {
    const peer = await existingPool({ sig_versions: [1, 2] });
    expect(await outcome(await shakeHands(peer))).toBe("403 federation/registration-refused");
    expect(targetsOf(peer)).toEqual([INFO, VERIFY]);
  });

  it("makes us send one handshake a minute at most", async () => {
    const peer = await existingPool();
    await shakeHands(peer);
    expect(await outcome(await shakeHands(peer))).toBe("429 federation/rate-limited");
    expect(peer.called(HANDSHAKE)).toHaveLength(1);
  });
});

describe("a pool of the existing network that our admin adds", () => {
  it("is added with its capabilities, which are objects", async () => {
    const peer = await existingPool();
    expect(await (await add(peer.url)).json<PeerView>()).toMatchObject({ atom_id: peer.id, capabilities: ["events"] });
  });

  it("has the URL that our admin typed, if its card has none", async () => {
    const peer = await existingPool({ url: "" });
    expect(await (await add(peer.url)).json<PeerView>()).toMatchObject({ atom_id: peer.id, url: peer.url });
  });

  it("is not added while its federation is off, and our admin learns why", async () => {
    const peer = await existingPool();
    peer.answer = () => Response.json({ mode: "off" });
    const refused = await (await add(peer.url)).json<{ error: { message: string } }>();
    expect(refused.error.message).toContain("Federation is switched off at the other pool.");
    expect(targetsOf(peer)).toEqual([INFO]);
  });
});

it("our card and our molecule have capabilities as objects", async () => {
  const peer = await existingPool();
  await shakeHands(peer);
  await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 }, 200);
  const objects = [{ kind: "chat" }, { kind: "events" }, { kind: "listed" }];
  expect(await (await ask(INFO)).json()).toMatchObject({ capabilities: objects });
  const molecule = await peer.send("GET", "/v1/federation/molecule", undefined, { version: 1 });
  expect(await molecule.json()).toMatchObject({ self: { capabilities: objects } });
});

describe("a peer that revoked this pool", () => {
  beforeAll(() => {
    vi.useFakeTimers({ toFake: ["Date"] });
  });
  afterAll(() => {
    vi.useRealTimers();
  });
  /** This pool asks an accepted peer for a proof of its key once a minute. */
  const isAskedForProof = async (peer: PeerDouble) => {
    const before = peer.called(VERIFY).length;
    vi.setSystemTime(Date.now() + 60_000);
    await eventually(async () => {
      await runDurableObjectAlarm(peer.bond());
      return peer.called(VERIFY).length > before;
    });
  };

  it("is shown as that while it refuses to prove its key, and no longer", async () => {
    const peer = await existingPool();
    await add(peer.url);
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 }, 200);
    expect(await peer.seen()).toMatchObject({ revoked_us: false });
    const met = peer.version1.met.get(US);
    if (met === undefined) throw new Error("it does not know us");
    met.isRevoked = true;
    await isAskedForProof(peer);
    await eventually(async () => (await peer.seen()).revoked_us);
    const listed = async () => (await admin<{ peers: PeerView[] }>("GET", "/peers")).peers;
    await eventually(async () => (await listed()).some(({ atom_id, revoked_us }) => atom_id === peer.id && revoked_us));
    met.isRevoked = false;
    await isAskedForProof(peer);
    await eventually(async () => !(await peer.seen()).revoked_us);
  });

  it("says so in its own words when our admin adds it again", async () => {
    const peer = await existingPool();
    await add(peer.url);
    const met = peer.version1.met.get(US);
    if (met !== undefined) met.isRevoked = true;
    const refused = await add(peer.url);
    expect(refused.headers.get("x-ligand-code")).toBe("federation/registration-refused");
    const { error } = await refused.json<{ error: { message: string } }>();
    expect(error.message).toContain("The other pool has revoked this one. It says: peer revoked");
  });

  it("cannot write into our admin's terminal", async () => {
    const peer = await existingPool();
    peer.answer = (request) =>
      request.url.endsWith(HANDSHAKE)
        ? Response.json({ error: `no\u001b[2J\u202e${"x".repeat(1_000)}` }, { status: 403 })
        : undefined;
    const { error } = await (await add(peer.url)).json<{ error: { message: string } }>();
    expect(error.message).toContain("The other pool does not admit this one. It says: no\ufffd[2J\ufffdxxx");
  });

  it("and is a Ligand pool has said so by a grant of 0, which a later grant ends", async () => {
    const peer = await peerAt(2);
    await peer.push([await peer.grant(0)]);
    expect(await peer.seen()).toMatchObject({ revoked_us: true });
    await peer.push([await peer.grant(1)]);
    expect(await peer.seen()).toMatchObject({ revoked_us: false });
  });
});

it("a peer over plain http is called where the switch allows it, and not elsewhere", async () => {
  const peer = await PeerDouble.make("http://plain.peer.example");
  await setPolicy({ allow_plain_http: false });
  expect(await outcome(await add(peer.url))).toBe("400 federation/private-address");
  expect(peer.calls).toEqual([]);
  await setPolicy({ allow_plain_http: true });
  expect(await outcome(await add(peer.url))).toBe("201");
});
