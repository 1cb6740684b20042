/** Pools of the existing network, which speak version 1. The double is that of `test/version-1-pool.ts`. */
import { env } from "cloudflare:workers";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { PeerView } from "../../schema/wire/federation.ts";
import recorded from "../vectors/existing-network.json" with { type: "json" };
import { freshPool, outcome, PeerDouble, setPolicy, US } from "./peer-double.ts";
import { admin, ask } from "./support.ts";

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
  const add = async (url: string) =>
    ask("/admin/api/peers", {
      method: "POST",
      headers: { authorization: `Bearer ${env.ADMIN_TOKEN}` },
      body: JSON.stringify({ url }),
    });

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

describe("a request that this pool does not speak", () => {
  const spoken = ["/v1/federation/info", "/v1/federation/handshake", "/v1/federation/admin/", "/v1/federation/peer/"];
  const unspoken = recorded.requests.filter(({ target }) => !spoken.some((path) => target.startsWith(path)));

  /** Everything in D1, as text. */
  async function record(): Promise<string> {
    const { results } = await env.DB.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all<{
      name: string;
    }>();
    const tables = results.filter(({ name }) => !name.startsWith("_") && !name.startsWith("sqlite_"));
    const rows = await Promise.all(tables.map(({ name }) => env.DB.prepare(`SELECT * FROM "${name}"`).all()));
    return JSON.stringify(rows.map((each) => each.results));
  }

  it.each(unspoken)("$name is answered 404, and nothing in it is kept", async ({ method, target, headers, body }) => {
    const sent = await ask(target, {
      method,
      headers: headers.map(([name = "", value = ""]): [string, string] => [name, value]),
      ...(body !== "" && { body }),
    });
    expect(sent.status).toBe(404);
    const secrets = body === "" ? [] : Object.values(JSON.parse(body) as object).filter((each) => `${each}`.length > 8);
    const kept = await record();
    for (const secret of secrets) expect(kept).not.toContain(String(secret));
  });

  it("there are such requests, with credentials in them", () => {
    expect(unspoken.map(({ name }) => name)).toEqual([
      "accounts-ingest",
      "ledger-merkle-root",
      "memory-forget",
      "memory-since",
      "worker-known-Stand-in-1",
    ]);
    expect(JSON.stringify(unspoken)).toContain("password_hash");
  });
});
