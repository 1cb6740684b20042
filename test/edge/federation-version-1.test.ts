import { env } from "cloudflare:workers";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { toHex } from "../../schema/crypto/bytes.ts";
import { SIGNATURE_HEADERS } from "../../schema/crypto/request-signature.ts";
import type { FederationPolicy, PeerView } from "../../schema/wire/federation.ts";
import { freshPool, OURS, outcome, PeerDouble, setPolicy, US } from "./peer-double.ts";
import { admin, ask } from "./support.ts";

/** First contact with a pool that speaks version 1, from either side (docs/spec/federation.md#versions). */

const INFO = "/v1/federation/info";
const HANDSHAKE = "/v1/federation/handshake";
const VERIFY = "/v1/federation/verify";

let peer: PeerDouble;
beforeAll(() => freshPool());
beforeEach(async () => {
  await setPolicy({ legacy_signatures: "reads" });
  peer = await PeerDouble.make();
  peer.version = 1;
});

const versionsOf = (of: PeerDouble) =>
  of.calls
    .filter(({ headers }) => headers.has(SIGNATURE_HEADERS.signature))
    .map(({ headers }) => headers.get(SIGNATURE_HEADERS.version) ?? "1");
const targetsOf = (of: PeerDouble) => of.calls.map(({ target }) => target);
const isKnown = async ({ id }: PeerDouble) =>
  (await env.DB.prepare("SELECT id FROM peers WHERE id = ?").bind(id).first()) !== null;

describe("a pool of the existing network that our admin adds", () => {
  const add = async (of: PeerDouble) =>
    ask("/admin/api/peers", {
      method: "POST",
      headers: { authorization: `Bearer ${env.ADMIN_TOKEN}` },
      body: JSON.stringify({ url: of.url, atom_id: of.id }),
    });

  it.each<FederationPolicy["legacy_signatures"]>(["reads", "all"])(
    "gets a handshake in version 1 and proves its key, when legacy_signatures is %s",
    async (legacy_signatures) => {
      await setPolicy({ legacy_signatures });
      const added = await (await add(peer)).json<PeerView>();
      expect(added).toMatchObject({ atom_id: peer.id, url: peer.url, effective: 1, added_by: "admin" });
      expect(added.signature_version).toBe(1);
      expect(targetsOf(peer)).toEqual([INFO, HANDSHAKE, VERIFY]);
      expect(versionsOf(peer)).toEqual(["1", "1"]);
      const [hello] = peer.called(HANDSHAKE);
      expect(hello?.body).toMatchObject({
        atom_id: US,
        pubkey_hex: toHex(OURS.publicKey),
        request_reciprocation: false,
      });
    },
  );

  it("is refused with its own code and gets no signed request, when legacy_signatures is off", async () => {
    await setPolicy({ legacy_signatures: "off" });
    expect(await outcome(await add(peer))).toBe("409 federation/legacy-off");
    expect(targetsOf(peer)).toEqual([INFO]);
    expect(await isKnown(peer)).toBe(false);
    // A pool that also speaks version 2 is not refused.
    peer.version = 2;
    expect(await outcome(await add(peer))).toBe("201");
  });

  it.each<[what: string, path: string, answer: () => Response, want: string]>([
    ["admits no pool", HANDSHAKE, () => new Response("no", { status: 403 }), "403 federation/registration-refused"],
    ["fails", HANDSHAKE, () => new Response("no", { status: 500 }), "502 federation/unreachable"],
    ["answers something else", HANDSHAKE, () => Response.json({ ok: true }), "502 federation/unreachable"],
    ["does not prove its key", VERIFY, () => Response.json({}), "409 federation/wrong-peer"],
    [
      "has another key",
      VERIFY,
      () => Response.json({ signed_response_b64: `${"A".repeat(86)}==` }),
      "409 federation/wrong-peer",
    ],
  ])("does not become a peer when it %s", async (_what, path, answer, want) => {
    peer.answer = (request) => (new URL(request.url).pathname === path ? answer() : undefined);
    expect(await outcome(await add(peer))).toBe(want);
    expect(await isKnown(peer)).toBe(false);
  });
});

describe("a handshake in version 1", () => {
  const shake = async () => {
    const body = {
      atom_id: peer.id,
      name: "old",
      pubkey_hex: toHex(peer.signer.publicKey),
      url: peer.url,
      molecule_id: null,
      capabilities: [],
      request_reciprocation: false,
    };
    return outcome(await peer.send("POST", HANDSHAKE, body, { version: 1 }));
  };

  it("is answered in version 1 after the sender's card was read and offers no version 2", async () => {
    expect(await shake()).toBe("200");
    expect(targetsOf(peer)).toEqual([INFO, VERIFY, HANDSHAKE, VERIFY]);
    expect(versionsOf(peer)).toEqual(["1", "1", "1"]);
    expect(await peer.seen()).toMatchObject({ signature_version: 1 });
  });

  it("from a pool whose card offers version 2 makes us send and accept version 2 only", async () => {
    peer.version = 2;
    expect(await shake()).toBe("200");
    expect(versionsOf(peer)).toEqual(["2"]);
    expect(await peer.seen()).toMatchObject({ signature_version: 2 });
    expect(await peer.outcomeOf("GET", "/api/federation/status", undefined, { version: 1 })).toBe(
      "401 federation/unauthenticated",
    );
    await admin("PUT", `/peers/${peer.id}/trust`, { level: 2 }, 200);
    expect(new Set(versionsOf(peer))).toEqual(new Set(["2"]));
  });

  const card = async (changes: object) => {
    const honest = await peer.receive(new Request(`${peer.url}${INFO}`), null);
    peer.calls.length = 0;
    return { ...(await honest.json<object>()), ...changes };
  };
  it.each<[what: string, answer: () => Promise<Response>]>([
    ["is missing", async () => new Response("no", { status: 404 })],
    ["is invalid", async () => Response.json(await card({ pubkey_hex: 7 }))],
    [
      "is another pool's",
      async () => Response.json(await card({ atom_id: OURS.id, pubkey_hex: toHex(OURS.publicKey) })),
    ],
    ["has another pool's id", async () => Response.json(await card({ atom_id: OURS.id }))],
    ["is too large", async () => Response.json(await card({ more: "x".repeat(1_048_576) }))],
  ])("registers no peer and causes no signed request when the sender's card %s", async (_what, answer) => {
    const given = await answer();
    peer.answer = (request) => (new URL(request.url).pathname === INFO ? given : undefined);
    expect(await shake()).toBe("403 federation/registration-refused");
    expect(versionsOf(peer)).toEqual([]);
    expect(await isKnown(peer)).toBe(false);
  });
});
