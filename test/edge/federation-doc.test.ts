import { env } from "cloudflare:workers";
import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type * as z from "zod";
import { errorBody } from "../../edge/http/error-body.ts";
import app from "../../edge/index.ts";
import doc from "../../FEDERATION.md?raw";
import { verifyAdminRequest } from "../../schema/crypto/admin-signature.ts";
import { fromBase64, fromHex, toBase64, toHex, utf8 } from "../../schema/crypto/bytes.ts";
import { verify } from "../../schema/crypto/ed25519.ts";
import { idOfPublicKey } from "../../schema/crypto/ids.ts";
import { verifyLivenessAnswer } from "../../schema/crypto/liveness-proof.ts";
import { verifyRegistrationProof } from "../../schema/crypto/registration-proof.ts";
import { freshNonce, readSignedHeaders, signedBytes } from "../../schema/crypto/request-signature.ts";
import { GENESIS_CHAIN, nextChain, openCheckpoint, openEvent } from "../../schema/crypto/signed-event.ts";
import {
  adminRequestAnswer,
  adminRequestBody,
  callbackAnswer,
  callbackBody,
} from "../../schema/wire/admin-requests.ts";
import { ERRORS, type ErrorCode } from "../../schema/wire/errors.ts";
import { EVENTS, type EventType } from "../../schema/wire/event-registry.ts";
import { pullAnswer, pulledEvent, pushAnswer, pushBody } from "../../schema/wire/events.ts";
import {
  confirmAnswer,
  confirmBody,
  type FederationPolicy,
  handshakeAnswer,
  handshakeBody,
  identityCard,
  moleculeAnswer,
  peerList,
  peerStatusAnswer,
  peerStatusBody,
  registerAnswer,
  registerBody,
  syncStatus,
  verifyAnswer,
  verifyBody,
} from "../../schema/wire/federation.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import vectors from "../vectors/federation-signatures.json" with { type: "json" };
import { deliver, freshPool, PeerDouble, peerAt, setPolicy } from "./peer-double.ts";
import { admin, ask, eventually, invite, ScriptedAgent } from "./support.ts";

/** FEDERATION.md against the schemas, the vectors, the routes and the pool itself. */

const SHAPES = {
  adminRequestBody,
  adminRequestAnswer,
  callbackBody,
  identityCard,
  registerBody,
  registerAnswer,
  confirmBody,
  confirmAnswer,
  handshakeBody,
  handshakeAnswer,
  verifyBody,
  verifyAnswer,
  moleculeAnswer,
  peerStatusBody,
  peerStatusAnswer,
  callbackAnswer,
  pushBody,
  pushAnswer,
  pullAnswer,
  pulledEvent,
  syncStatus,
  peerList,
  trust_granted: EVENTS.trust_granted.payload,
  worker_joined: EVENTS.worker_joined.payload,
  worker_left: EVENTS.worker_left.payload,
} satisfies Record<string, z.ZodType>;
type Shape = keyof typeof SHAPES;

interface Block {
  language: string;
  /** The text after it: what the block is. */
  is: string[];
  text: string;
  /** The endpoint of the section. */
  endpoint: string;
}

const blocks = readBlocks(doc);
const prose = doc.replace(/^```.*?^```/gms, "");

function readBlocks(markdown: string): Block[] {
  const found = markdown.matchAll(/^### `([^`]+)`|^```(\w+) (.*?)\n(.*?)^```/gms);
  let endpoint = "";
  return [...found].flatMap(([, heading, language = "", is = "", text = ""]) => {
    endpoint = heading ?? endpoint;
    return heading === undefined ? [{ language, is: is.split(" "), text, endpoint }] : [];
  });
}

function block(...is: string[]): Block {
  const [found, ...more] = blocks.filter((each) => is.every((word, i) => each.is[i] === word));
  if (!found || more.length > 0) throw new Error(`${more.length + 1} blocks are ${is.join(" ")}`);
  return found;
}
const example = <Of extends Shape>(kind: "request" | "answer", shape: Of): z.output<(typeof SHAPES)[Of]> =>
  SHAPES[shape].parse(JSON.parse(block(kind, shape).text)) as z.output<(typeof SHAPES)[Of]>;

/** The cells of a table, found by the title of its first column. */
function rows(first: string): string[][] {
  const [, body = ""] = new RegExp(`^\\| ${first} \\|.*\\n\\|[ |-]+\\n((?:\\|.*\\n)+)`, "m").exec(prose) ?? [];
  const split = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll("`", ""));
  return body.trimEnd().split("\n").map(split);
}

/** The routes of the pool itself, with `{id}` for a parameter, sorted. */
function federatedRoutes(): string[] {
  const routes = app.routes
    .filter(({ method, path }) => method !== "ALL" && /^\/(api|v1)\/federation\//.test(path))
    .map(({ method, path }) => `${method} ${path.replace(/\/$/, "").replace(":id", "{id}")}`);
  return [...new Set(routes)].sort();
}

const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());

describe("the text", () => {
  it("names every federated route, and no other", () => {
    const written = prose.matchAll(/`((?:GET|POST|PUT|DELETE) \/(?:api|v1)\/federation\/[^`?]*)/g);
    expect([...new Set([...written].map(([, route]) => route))].sort()).toEqual(federatedRoutes());
  });

  /** A reader keeps the kind of a capability, and nothing else of the object. */
  const kindsOnly = (name: string, value: unknown) =>
    name === "capabilities"
      ? (value as (string | { kind: string })[]).map((one) => (typeof one === "string" ? one : one.kind))
      : value;

  it("has a valid example of each body that pools exchange", () => {
    const shown = blocks.filter(({ language, is }) => language === "json" && is[0] !== "error");
    for (const { is, text } of shown) {
      const shape = SHAPES[is[1] as Shape];
      expect(shape, is.join(" ")).toBeDefined();
      expect(shape.parse(JSON.parse(text)), is.join(" ")).toEqual(JSON.parse(text, kindsOnly));
    }
    expect(new Set([...shown.map(({ is }) => is[1]), "pulledEvent"])).toEqual(new Set(Object.keys(SHAPES)));
  });

  it("has an admin's signature that verifies over the bytes that it shows", async () => {
    const {
      admin_signature,
      origin_pool_id: origin,
      ...request
    } = SHAPES.adminRequestBody.parse(JSON.parse(block("write", "adminRequestBody").text));
    const { request_id, action_type, action_params } = request;
    const shown = block("admin-signature-bytes").text.trimEnd();
    const { destination } = JSON.parse(shown) as { destination: string };
    const [, hex = ""] = /Here the public key is `([0-9a-f]{64})`/.exec(doc) ?? [];
    const publicKey = fromHex(hex) ?? expect.fail();
    const contents = { origin, destination, request_id, action_type, action_params };
    const signature = admin_signature ?? expect.fail();
    expect(await verifyAdminRequest(signature, contents, publicKey)).toBe(true);
    expect(await verify(fromBase64(signature.signature) ?? expect.fail(), utf8(shown), publicKey)).toBe(true);
    expect(signature.key_id).toBe(await idOfPublicKey(publicKey));
  });

  it("shows the one refusal of every invalid signature", () =>
    expect(JSON.parse(block("error").text)).toEqual(errorBody(block("error").is[1] as ErrorCode)));

  it("lists every code that peers get, with its status and message", () =>
    expect(rows("code")).toEqual(
      Object.entries(ERRORS)
        .filter(([code]) => /^(federation|events)\//.test(code))
        .map(([code, { status, message, remedy }]) => [code, String(status), `${message} ${remedy}`]),
    ));

  it("lists what this pool sends to other pools, and to which, with an example each", () => {
    const shared = Object.entries(EVENTS).filter(([, { visibility }]) => visibility !== "private");
    const types = shared.map(([type, { visibility }]) => [type, visibility]);
    expect(rows("type").map(([type, visibility]) => [type, visibility])).toEqual(types);
    const examples = blocks.filter(({ is }) => is[0] === "event").map(({ is }) => is[1]);
    expect(examples).toEqual(shared.map(([type]) => type));
  });

  it("states the limits of the code", () => {
    const stated = [...rows("limit"), ...rows("price")].map(([name = "", value = ""]) => [
      name,
      Number(value.replaceAll(",", "")),
    ]);
    expect(stated.length).toBeGreaterThan(20);
    expect(stated).toEqual(stated.map(([name]) => [name, LIMITS[name as keyof typeof LIMITS]]));
  });

  it("has no broken link", () => {
    const sections = [...doc.matchAll(/^#+ (.*)$/gm)].map(([, title = ""]) =>
      title
        .toLowerCase()
        .replace(/[^\w -]/g, "")
        .replaceAll(" ", "-"),
    );
    for (const [, target = ""] of prose.matchAll(/\]\(#([^)]+)\)/g)) expect(sections).toContain(target);
  });
});

describe("the signed examples", () => {
  it.each([
    ["signed-v1", "v1 admin request, no hops"],
    ["signed-v2", "v2 covers the query string"],
  ])("%s equals the vector, byte for byte", async (name, comment) => {
    const vector = vectors.cases.find((each) => each.comment === comment);
    const [head = "", body = ""] = block(name).text.trimEnd().split("\n\n");
    const [request = "", ...lines] = head.split("\n");
    const [method = "", target = ""] = request.split(" ");
    const headers = new Headers(lines.map((line) => line.split(/: ?/) as [string, string]));
    const read = readSignedHeaders(headers);
    if (!read.ok || !vector) throw new Error(`not a signed request: ${JSON.stringify(read)}`);
    const bytes = await signedBytes(read.headers, { method, target, body: utf8(body) });
    expect(toHex(bytes)).toBe(vector.signed_bytes_hex);
    // A fence ends on a line of its own: the last line feed of version 1 is not signed.
    const shown = block(`${name}-bytes`).text;
    expect(read.headers.version === 1 ? shown.replace(/\n$/, "") : shown).toBe(new TextDecoder().decode(bytes));
    expect(toBase64(read.signature)).toBe(vector.signature_base64);
    const key = fromHex(vectors.origin.public_key_hex) ?? new Uint8Array();
    expect(await verify(read.signature, bytes, key)).toBe(true);
  });

  it("the registration equals the vector, and both proofs verify", async () => {
    const [asked, answered, confirmed] = [
      example("request", "registerBody"),
      example("answer", "registerAnswer"),
      example("request", "confirmBody"),
    ];
    const registration = { initiator: asked, responder: answered };
    expect(answered.proof).toBe(vectors.registration.responder.proof_base64);
    expect(confirmed).toEqual({
      card: asked.card,
      challenge: answered.challenge,
      proof: vectors.registration.initiator.proof_base64,
    });
    expect(await verifyRegistrationProof(answered.proof, "responder", registration)).toBe(true);
    expect(await verifyRegistrationProof(confirmed.proof, "initiator", registration)).toBe(true);
  });

  it("the answer to verify is signed with the destination's key", async () => {
    const { challenge_b64 } = example("request", "verifyBody");
    const { signed_response_b64 } = example("answer", "verifyAnswer");
    const key = fromHex(vectors.destination.public_key_hex) ?? new Uint8Array();
    expect(await verifyLivenessAnswer(signed_response_b64, challenge_b64, key)).toBe(true);
  });

  it("events, checkpoints and the chain verify, and a stream carries the same events as a pull", async () => {
    const page = example("answer", "pullAnswer");
    const [pulled] = page.events;
    expect(example("request", "pushBody").events).toEqual([{ event: pulled?.event, ttl: pulled?.ttl }]);
    expect(await openEvent(pulled?.event)).toMatchObject({ ok: true, event: { origin: vectors.origin.atom_id } });
    const chain = nextChain(GENESIS_CHAIN, pulled?.event.content_id ?? "", sha256);
    expect(page.checkpoint.checkpoint).toMatchObject({ audience: "peers", seq: 1, chain });
    const { checkpoints } = example("answer", "syncStatus");
    for (const each of [page.checkpoint, ...checkpoints])
      expect(await openCheckpoint(each)).toMatchObject({ ok: true });
    const [, id, data = ""] = /^: .*\n\nid: (\d+)\ndata: (.*)\n\n: .*\n$/.exec(block("stream").text) ?? [];
    expect({ id, event: JSON.parse(data) }).toEqual({ id: "1", event: pulled });
  });
});

/** Whether both have the same members, at any depth; the first elements represent a list. */
function expectSameMembers(live: unknown, shown: unknown, at: string): void {
  if (live === null || shown === null) return;
  expect(Array.isArray(live) ? "list" : typeof live, at).toBe(Array.isArray(shown) ? "list" : typeof shown);
  if (Array.isArray(live) && Array.isArray(shown)) {
    if (shown.length > 0) expect(live, at).not.toEqual([]);
    if (live.length > 0 && shown.length > 0) expectSameMembers(live[0], shown[0], `${at}[0]`);
    return;
  }
  if (typeof live !== "object" || typeof shown !== "object") return;
  expect(Object.keys(live).sort(), at).toEqual(Object.keys(shown).sort());
  for (const [name, value] of Object.entries(live)) {
    expectSameMembers(value, (shown as Record<string, unknown>)[name], `${at}.${name}`);
  }
}

describe("the pool itself", () => {
  beforeEach(() => freshPool());
  afterEach(() => vi.restoreAllMocks());

  const handshake = (of: PeerDouble) => ({
    atom_id: of.id,
    name: "double",
    pubkey_hex: toHex(of.signer.publicKey),
    url: of.url,
    molecule_id: null,
    capabilities: [],
    request_reciprocation: false,
  });
  const adminRequest = ({ id: origin_pool_id }: PeerDouble) => ({
    request_id: `req_${freshNonce()}`,
    origin_pool_id,
    action_type: "query_events",
    action_params: { event_types: ["worker_joined"], limit: 100 },
    from_admin_email: "ops@double.example",
  });
  const callback = ({ id: origin_pool_id }: PeerDouble) => ({
    request_id: "req_unknown",
    origin_pool_id,
    final_status: "rejected",
  });
  const challenge = () => ({ challenge_b64: toBase64(fromHex(freshNonce() + freshNonce()) ?? new Uint8Array()) });
  /** A bonded peer, and an event for it in the log. */
  async function bonded(): Promise<PeerDouble> {
    const peer = await peerAt(3, 3);
    await env.EVENT_LOG.getByName("pool").append([{ type: "overview", visibility: "peers", payload: {} }]);
    return peer;
  }

  it.each<[shape: Shape, call: () => Promise<{ asked?: unknown; response: Response }>]>([
    ["identityCard", async () => ({ response: await ask("/v1/federation/info") })],
    ["identityCard", async () => ({ response: await ask("/api/federation/identity") })],
    [
      "registerAnswer",
      async () => {
        const peer = await PeerDouble.make();
        const asked = { card: peer.card(), challenge: freshNonce() + freshNonce() };
        return { asked, response: await peer.send("POST", "/api/federation/register", asked) };
      },
    ],
    ["confirmAnswer", async () => ({ response: await (await PeerDouble.make()).register() })],
    [
      "handshakeAnswer",
      async () => {
        const peer = await PeerDouble.make();
        const asked = handshake(peer);
        return { asked, response: await peer.send("POST", "/v1/federation/handshake", asked) };
      },
    ],
    [
      "verifyAnswer",
      async () => {
        const peer = await peerAt(1);
        const asked = { atom_id: peer.id, ...challenge() };
        return { asked, response: await peer.send("POST", "/v1/federation/verify", asked) };
      },
    ],
    [
      "moleculeAnswer",
      async () => {
        await peerAt(2, 2);
        return { response: await (await peerAt(2)).send("GET", "/v1/federation/molecule") };
      },
    ],
    [
      "peerStatusAnswer",
      async () => {
        const peer = await bonded();
        const agent = await ScriptedAgent.serving((await invite()).token, { model: "m" });
        const asked = { origin_pool_id: peer.id };
        const response = await peer.send("POST", "/v1/federation/peer/status", asked);
        agent.close();
        return { asked, response };
      },
    ],
    [
      "adminRequestAnswer",
      async () => {
        const peer = await bonded();
        const asked = adminRequest(peer);
        return { asked, response: await peer.send("POST", "/v1/federation/admin/request", asked) };
      },
    ],
    [
      "pushAnswer",
      async () => {
        const peer = await bonded();
        const asked = { events: [{ event: await peer.event({ visibility: "peers" }), ttl: 3 }] };
        return { asked, response: await peer.send("POST", "/api/federation/events", asked) };
      },
    ],
    [
      "pullAnswer",
      async () => ({
        response: await (await bonded()).send("GET", "/api/federation/events?audience=peers&since=0&limit=100"),
      }),
    ],
    ["syncStatus", async () => ({ response: await (await bonded()).send("GET", "/api/federation/status") })],
    [
      "peerList",
      async () => {
        await bonded();
        const headers = { authorization: `Bearer ${env.ADMIN_TOKEN}` };
        return { response: await ask("/api/federation/peers", { headers }) };
      },
    ],
  ])("answers with the members of the example: %s", async (shape, call) => {
    const { asked, response } = await call();
    expect(response.ok).toBe(true);
    const [first] = blocks.filter(({ is }) => is[0] === "answer" && is[1] === shape);
    const live = await response.json();
    expect(SHAPES[shape].parse(live)).toBeDefined();
    expectSameMembers(live, JSON.parse(first?.text ?? ""), shape);
    const request = blocks.find(({ is, endpoint }) => is[0] === "request" && endpoint === first?.endpoint);
    if (asked !== undefined) expectSameMembers(asked, JSON.parse(request?.text ?? ""), `request of ${shape}`);
  });

  it("the payloads for a grant and for a worker have the members of the examples", async () => {
    const peer = await peerAt(3, 3);
    const agent = await ScriptedAgent.serving((await invite()).token, { model: "m" });
    const page = async () =>
      pullAnswer.parse(await (await peer.send("GET", "/api/federation/events?audience=peers&since=0")).json());
    await eventually(async () => (await page()).events.length > 0);
    const opened = await Promise.all(
      [...(await page()).events.map(({ event }) => event), ...peer.received].map(openEvent),
    );
    const byType = new Map(opened.flatMap((each) => (each.ok ? [[each.event.type, each.event] as const] : [])));
    expect([...byType.keys()].sort()).toEqual(["trust_granted", "worker_joined"]);
    for (const [type, { visibility, payload }] of byType) {
      const shared = EVENTS[type as EventType];
      expect(visibility).toBe(shared.visibility);
      expectSameMembers(shared.payload.parse(payload), JSON.parse(block("event", type).text), type);
    }
    agent.close();
  });

  it("a stream has the form of the example", async () => {
    const response = await (await bonded()).send("GET", "/api/federation/stream?audience=peers&since=0");
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (reader && !/data: .*\n\n/.test(text)) text += (await reader.read()).value ?? "";
    await reader?.cancel();
    const [, data = ""] = /^: .*\n\nid: 1\ndata: (.*)\n\n/.exec(text) ?? [];
    expectSameMembers(JSON.parse(data), example("answer", "pullAnswer").events[0], "event");
  });

  const callers = rows("endpoint").filter((cells) => cells.length === 4) as [string, string, string, string][];
  const signed = callers.filter(([, trust]) => trust !== "anyone");
  /** Well formed, except for the signature. */
  async function send(of: PeerDouble, endpoint: string, version: 1 | 2): Promise<string> {
    const [method = "", path = ""] = endpoint.split(" ");
    const body = path.endsWith("/handshake")
      ? handshake(of)
      : path.endsWith("/verify")
        ? { atom_id: of.id, ...challenge() }
        : path.endsWith("/register")
          ? { card: of.card(), challenge: freshNonce() + freshNonce() }
          : path.endsWith("/admin/request")
            ? adminRequest(of)
            : path.endsWith("/admin/callback")
              ? callback(of)
              : method === "POST"
                ? { events: [{ event: await of.event(), ttl: 3 }] }
                : undefined;
    return of.outcomeOf(method, path, body, { version });
  }

  it("the table of callers lists each federated route that is not for the operator", () => {
    const routes = federatedRoutes().filter((route) => !route.includes("/federation/peers"));
    expect(callers.map(([endpoint]) => endpoint).sort()).toEqual(routes);
    expect(signed).toHaveLength(callers.length - 2);
  });

  it("each endpoint requires the trust that the table states", async () => {
    const known = { 0: await peerAt(0), 1: await peerAt(1), 2: await peerAt(2), 3: await peerAt(3, 3) };
    for (const [endpoint, wants] of signed.filter(([, trust]) => /^\d/.test(trust))) {
      const least = Number(wants[0]);
      for (const [level, peer] of Object.entries(known)) {
        const outcomeAt2 = await send(peer, endpoint, 2);
        if (Number(level) < least) expect(outcomeAt2, `${endpoint} at ${level}`).toBe("403 federation/untrusted");
        else expect(outcomeAt2, `${endpoint} at ${level}`).not.toBe("403 federation/untrusted");
      }
      if (!wants.includes("peers 3")) continue;
      expect(await send(known[2], `${endpoint}?audience=peers`, 2)).toBe("403 federation/untrusted");
      expect(await send(known[3], `${endpoint}?audience=peers`, 2)).toBe("200");
    }
  });

  it("accepts version 1 exactly where the table says", async () => {
    await setPolicy({ legacy_signatures: "reads" });
    const old = await PeerDouble.make();
    old.version = 1;
    expect(await send(old, "POST /v1/federation/handshake", 1)).toBe("200");
    await admin("PUT", `/peers/${old.id}/trust`, { level: 2 }, 200);
    for (const legacy of ["off", "reads", "all"] satisfies FederationPolicy["legacy_signatures"][]) {
      await setPolicy({ legacy_signatures: legacy });
      for (const [endpoint, , heardWith] of signed) {
        const outcomeV1 = await send(old, endpoint, 1);
        const isAccepted = heardWith.split(", ").includes(legacy);
        expect(outcomeV1 === "401 federation/unauthenticated", `${endpoint} with ${legacy}: ${outcomeV1}`).toBe(
          !isAccepted,
        );
      }
    }
  });

  it("refuses an invalid signature as the text says", async () => {
    const peer = await PeerDouble.make();
    const response = await deliver(await peer.request("GET", "/api/federation/status"));
    expect(response.status).toBe(401);
    expect(response.headers.get("date")).not.toBeNull();
    expect(await response.json()).toEqual(JSON.parse(block("error").text));
  });
});
