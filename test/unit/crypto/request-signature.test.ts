import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromBase64, fromHex, toBase64, toHex, utf8 } from "../../../schema/crypto/bytes.ts";
import { signerFrom, verify } from "../../../schema/crypto/ed25519.ts";
import {
  checkSignedHeaders,
  freshNonce,
  readSignedHeaders,
  SIGNATURE_HEADERS,
  SIGNATURE_REFUSALS,
  type SignatureRefusal,
  type SignedHeaders,
  type SignedRequest,
  signedBytes,
  signRequest,
  targetOf,
  verifyRequest,
} from "../../../schema/crypto/request-signature.ts";
import vectors from "../../vectors/federation-signatures.json" with { type: "json" };
import { seed } from "./ed25519-cases.ts";

const bytes = (hex: string) => fromHex(hex) ?? expect.fail("hex");
const base64 = (text: string) => fromBase64(text) ?? expect.fail("base64");
const { origin, destination } = vectors;
const originKey = bytes(origin.public_key_hex);
const signer = await signerFrom(bytes(origin.secret_key_hex));
const third = await signerFrom(await seed("third pool"));

type Case = (typeof vectors.cases)[number];
const requestOf = (c: Case): SignedRequest => ({ method: c.method, target: c.target, body: utf8(c.body) });
const headersOf = (c: Case): SignedHeaders => ({
  version: c.version === 2 ? 2 : 1,
  origin: origin.atom_id,
  destination: c.version === 2 ? destination.atom_id : null,
  timestampSeconds: Number(c.timestamp),
  nonce: c.nonce,
  hop: Number(c.hop),
  chain: c.chain === "" ? [] : c.chain.split(","),
});
/** The headers of a case as they arrive over HTTP. */
function wireOf(c: Case): Headers {
  const headers = new Headers({
    [SIGNATURE_HEADERS.atomId]: origin.atom_id,
    [SIGNATURE_HEADERS.timestamp]: c.timestamp,
    [SIGNATURE_HEADERS.nonce]: c.nonce,
    [SIGNATURE_HEADERS.hop]: c.hop,
    [SIGNATURE_HEADERS.chain]: c.chain,
    [SIGNATURE_HEADERS.signature]: c.signature_base64,
  });
  if (c.version === 2) {
    headers.set(SIGNATURE_HEADERS.version, "2");
    headers.set(SIGNATURE_HEADERS.destination, destination.atom_id);
  }
  return headers;
}

/** All three steps of the receiver; null: the request is admitted. */
async function admit(
  headers: Headers,
  request: SignedRequest,
  publicKey: Uint8Array | null,
  nowSeconds: number,
  allowVersion1 = true,
): Promise<SignatureRefusal | null> {
  const read = readSignedHeaders(headers);
  if (!read.ok) return read.reason;
  const refusal = checkSignedHeaders(read.headers, { self: destination.atom_id, nowSeconds, allowVersion1 });
  if (refusal !== null) return refusal;
  const verification = await verifyRequest(read, request, publicKey);
  return verification.verified ? null : verification.reason;
}

/** The first case has header shapes that no request may have; it is about bytes only. */
const wireCases = vectors.cases.filter((c) => !c.comment.startsWith("bytes only"));

describe("the vectors", () => {
  it.each(vectors.cases)("$comment: bytes and signature", async (c) => {
    const message = await signedBytes(headersOf(c), requestOf(c));
    expect(toHex(message)).toBe(c.signed_bytes_hex);
    expect(toBase64(await signer.sign(message))).toBe(c.signature_base64);
    const read = { headers: headersOf(c), signature: base64(c.signature_base64) };
    expect(await verifyRequest(read, requestOf(c), originKey)).toEqual({ verified: true });
  });

  it.each(wireCases)("$comment: parses, passes the checks, verifies, and gives the same signature", async (c) => {
    expect(await admit(wireOf(c), requestOf(c), originKey, Number(c.timestamp))).toBeNull();
    const { destination, timestampSeconds, nonce, chain } = headersOf(c);
    const ours = await signRequest(signer, { ...requestOf(c), destination, timestampSeconds, nonce, chain });
    expect(new Headers(ours)).toEqual(wireOf(c));
  });

  it.each(vectors.refused)("refused: $comment", async (c) => {
    const signature = base64(c.signature_base64);
    expect(await verify(signature, bytes(c.signed_bytes_hex), bytes(c.public_key_hex))).toBe(false);
    const same = vectors.cases.find(({ signed_bytes_hex }) => signed_bytes_hex === c.signed_bytes_hex);
    if (same === undefined) return expect.fail("no case has these bytes");
    const read = { headers: headersOf(same), signature };
    expect((await verifyRequest(read, requestOf(same), bytes(c.public_key_hex))).verified).toBe(false);
  });
});

describe("every byte of every signed part", () => {
  /** Flips the lowest bit: a digit stays a digit, so that the signature refuses and not only the shape. */
  const flipChar = (text: string, at: number) =>
    text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1);
  const flipByte = (given: Uint8Array, at: number) => given.map((byte, i) => (i === at ? byte ^ 1 : byte));
  const HEADER_PARTS = ["atomId", "timestamp", "nonce", "hop", "chain", "destination", "version", "signature"] as const;

  it.each(wireCases)("$comment", async (c) => {
    const nowSeconds = Number(c.timestamp);
    const request = requestOf(c);
    const refused: Promise<void>[] = [];
    const expectRefused = (what: string, headers: Headers, mutated: SignedRequest, key = originKey) =>
      refused.push(admit(headers, mutated, key, nowSeconds).then((r) => expect(r, what).toBeOneOf(SIGNATURE_REFUSALS)));

    for (const part of HEADER_PARTS) {
      const name = SIGNATURE_HEADERS[part];
      const value = wireOf(c).get(name) ?? "";
      for (let at = 0; at < value.length; at++) {
        const headers = wireOf(c);
        headers.set(name, flipChar(value, at));
        expectRefused(`${part} ${at}`, headers, request);
      }
    }
    for (let at = 0; at < c.method.length; at++) {
      expectRefused(`method ${at}`, wireOf(c), { ...request, method: flipChar(c.method, at) });
    }
    // Version 1 binds the path only.
    const bound = c.version === 1 ? c.target.split("?", 1)[0] : c.target;
    for (let at = 0; at < (bound ?? "").length; at++) {
      expectRefused(`target ${at}`, wireOf(c), { ...request, target: flipChar(c.target, at) });
    }
    for (let at = 0; at < request.body.length; at++) {
      expectRefused(`body ${at}`, wireOf(c), { ...request, body: flipByte(request.body, at) });
    }
    for (let at = 0; at < originKey.length; at++) {
      expectRefused(`key ${at}`, wireOf(c), request, flipByte(originKey, at));
    }
    const signature = base64(c.signature_base64);
    for (let at = 0; at < signature.length; at++) {
      const headers = wireOf(c);
      headers.set(SIGNATURE_HEADERS.signature, toBase64(flipByte(signature, at)));
      expectRefused(`signature byte ${at}`, headers, request);
    }
    await Promise.all(refused);
    expect(refused.length).toBeGreaterThan(350);
  });

  it.each(vectors.cases)("$comment: of the signed bytes themselves", async (c) => {
    const message = bytes(c.signed_bytes_hex);
    const signature = base64(c.signature_base64);
    for (let at = 0; at < message.length; at++) {
      expect(await verify(signature, flipByte(message, at), originKey), `byte ${at}`).toBe(false);
    }
  });

  it("a part of version 2 cannot be moved into the next part", async () => {
    // No value contains a line end, so moving bytes between lines changes the signed bytes.
    const [c] = wireCases.filter(({ version }) => version === 2);
    if (c === undefined) return expect.fail("no case of version 2");
    const headers = headersOf(c);
    const texts = await Promise.all([
      signedBytes(headers, requestOf(c)),
      signedBytes({ ...headers, hop: 1, chain: [] }, requestOf(c)),
      signedBytes({ ...headers, origin: destination.atom_id, destination: origin.atom_id }, requestOf(c)),
      signedBytes(headers, { ...requestOf(c), target: `${c.target}?` }),
      signedBytes({ ...headers, version: 1 }, requestOf(c)),
    ]);
    expect(new Set(texts.map(toHex)).size).toBe(texts.length);
  });
});

const id = origin.atom_id;
const other = third.id;
const v2 = wireCases.find(({ version }) => version === 2) ?? expect.fail("no case of version 2");
const v1 = wireCases.find(({ version }) => version === 1) ?? expect.fail("no case of version 1");

describe("header shapes", () => {
  const MISSING = null;
  it.each<[part: keyof typeof SIGNATURE_HEADERS, values: (string | null)[], reason: SignatureRefusal]>([
    ["version", ["", "1", "3", "02", "2, 2", "2.0"], "malformed-version"],
    [
      "atomId",
      [MISSING, "", id.toUpperCase(), id.slice(1), `${id}0`, `${id}, ${id}`, `0x${id.slice(2)}`],
      "malformed-atom-id",
    ],
    [
      "timestamp",
      [MISSING, "", "-1", "+1", "01", "1.0", "1e3", " 1a", "1776358800, 1776358800", "1".repeat(13), "٣", "NaN"],
      "malformed-timestamp",
    ],
    [
      "nonce",
      [MISSING, "", "A8".repeat(16), "a8".repeat(15), "a8".repeat(17), "g8".repeat(16), `${v2.nonce}, ${v2.nonce}`],
      "malformed-nonce",
    ],
    ["hop", ["", "-1", "+0", "00", "10", "0, 0", "0.0", "a"], "malformed-hop"],
    [
      "chain",
      [
        ",",
        `${id},`,
        `,${id}`,
        `${id}, ${id}`,
        `${id},,${id}`,
        id.slice(1),
        id.toUpperCase(),
        Array(10).fill(id).join(),
      ],
      "malformed-chain",
    ],
    ["destination", [MISSING, "", id.slice(1), id.toUpperCase(), `${id}, ${id}`], "malformed-destination"],
    [
      "signature",
      [
        MISSING,
        "",
        v2.signature_base64.slice(0, -1),
        v2.signature_base64.replaceAll("+", "-"),
        `${v2.signature_base64}=`,
        // Other unused bits at the end: the same 64 bytes in another spelling.
        `${v2.signature_base64.slice(0, 85)}h==`,
        `${v2.signature_base64}, ${v2.signature_base64}`,
      ],
      "malformed-signature",
    ],
  ])("a bad %s is refused", (part, values, reason) => {
    for (const value of values) {
      const headers = wireOf(v2);
      if (value === MISSING) headers.delete(SIGNATURE_HEADERS[part]);
      // As over HTTP, where only byte strings can arrive.
      else headers.set(SIGNATURE_HEADERS[part], toHeaderBytes(value));
      expect(readSignedHeaders(headers), `${value}`).toEqual({ ok: false, reason });
    }
  });

  it.each(Object.values(SIGNATURE_HEADERS))("%s sent twice is refused", (name) => {
    const headers = wireOf({ ...v2, hop: "1", chain: other });
    headers.append(name, headers.get(name) ?? "");
    expect(readSignedHeaders(headers).ok).toBe(false);
  });

  it("hop and chain may be absent", () => {
    const headers = wireOf(v2);
    headers.delete(SIGNATURE_HEADERS.hop);
    headers.delete(SIGNATURE_HEADERS.chain);
    expect(readSignedHeaders(headers)).toMatchObject({ ok: true, headers: { hop: 0, chain: [] } });
  });

  it.each<[nonce: string, ok: boolean]>([
    ["a8f3c1d2", true],
    ["A8F3C1D2", true],
    ["a8".repeat(32), true],
    ["a8f3c1d", false],
    ["a8".repeat(33), false],
    ["nonce1", false],
  ])("version 1 with nonce %s", (nonce, ok) => {
    const headers = wireOf(v1);
    headers.set(SIGNATURE_HEADERS.nonce, nonce);
    expect(readSignedHeaders(headers).ok).toBe(ok);
  });

  it("version 1 has no destination", () => {
    const headers = wireOf(v1);
    headers.set(SIGNATURE_HEADERS.destination, destination.atom_id);
    expect(readSignedHeaders(headers)).toEqual({ ok: false, reason: "malformed-destination" });
  });

  it("no text of a stranger makes it throw", () => {
    const value = fc.oneof(fc.constantFrom("", id, "2", "0", v2.nonce, v2.signature_base64), fc.string());
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...Object.values(SIGNATURE_HEADERS)), value), (given) => {
        const read = readSignedHeaders({ get: (name) => given[name] ?? null });
        expect(read.ok || SIGNATURE_REFUSALS.includes(read.reason)).toBe(true);
      }),
    );
  });

  function toHeaderBytes(value: string): string {
    return String.fromCharCode(...utf8(value));
  }
});

describe("checks, in the order of docs/spec/federation.md#signed-requests", () => {
  const self = destination.atom_id;
  const now = 1_776_358_800;
  const given = headersOf(v2);
  it.each<[what: string, changes: Partial<SignedHeaders>, want: SignatureRefusal | null]>([
    ["as sent", {}, null],
    ["60 s late", { timestampSeconds: now - 60 }, null],
    ["60 s early", { timestampSeconds: now + 60 }, null],
    ["61 s late", { timestampSeconds: now - 61 }, "clock-skew"],
    ["61 s early", { timestampSeconds: now + 61 }, "clock-skew"],
    ["for a third pool", { destination: other }, "wrong-destination"],
    ["our own request, sent back", { origin: self, destination: self }, "reflection"],
    ["our own request of version 1, sent back", { version: 1, origin: self, destination: null }, "reflection"],
    ["two hops", { hop: 2, chain: [other, other] }, null],
    ["three hops", { hop: 3, chain: [other, other, other] }, "too-many-hops"],
    ["a hop without a chain", { hop: 1, chain: [] }, "chain-length"],
    ["a chain without a hop", { hop: 0, chain: [other] }, "chain-length"],
    ["a chain with our id", { hop: 1, chain: [self] }, "loop"],
    ["a chain with another id and ours", { hop: 2, chain: [other, self] }, "loop"],
    ["late and for another pool: late comes first", { timestampSeconds: 0, destination: other }, "clock-skew"],
    [
      "for another pool and with too many hops: the pool comes first",
      { destination: other, hop: 3, chain: [self] },
      "wrong-destination",
    ],
    ["too many hops and a loop: the hops come first", { hop: 3, chain: [self] }, "too-many-hops"],
  ])("%s", (_what, changes, want) => {
    const headers = { ...given, timestampSeconds: now, ...changes };
    expect(checkSignedHeaders(headers, { self, nowSeconds: now, allowVersion1: true })).toBe(want);
  });

  it("version 1 only where the policy allows it", async () => {
    const at = Number(v1.timestamp);
    expect(await admit(wireOf(v1), requestOf(v1), originKey, at, false)).toBe("version-1-refused");
    expect(await admit(wireOf(v1), requestOf(v1), originKey, at, true)).toBeNull();
    expect(await admit(wireOf(v2), requestOf(v2), originKey, Number(v2.timestamp), false)).toBeNull();
  });
});

describe("keys", () => {
  const at = Number(v2.timestamp);
  it("an unknown peer is refused although a known key would verify the signature", async () => {
    expect(await admit(wireOf(v2), requestOf(v2), null, at)).toBe("unknown-peer");
  });

  it.each([v1, v2])("version $version: a signature by another key than that of the atom id is refused", async (c) => {
    const { destination, timestampSeconds, nonce } = headersOf(c);
    const own = new Headers(await signRequest(third, { ...requestOf(c), destination, timestampSeconds, nonce }));
    expect(await admit(own, requestOf(c), third.publicKey, timestampSeconds)).toBeNull();
    own.set(SIGNATURE_HEADERS.atomId, origin.atom_id);
    expect(await admit(own, requestOf(c), third.publicKey, timestampSeconds)).toBe("wrong-key");
    expect(await admit(own, requestOf(c), originKey, timestampSeconds)).toBe("bad-signature");
  });

  it("a version 1 signature is not valid as version 2, nor the reverse", async () => {
    const { timestampSeconds } = headersOf(v2);
    const nonce = freshNonce();
    const request = requestOf(v2);
    const sent = await signRequest(signer, { ...request, destination: destination.atom_id, timestampSeconds, nonce });
    const down = new Headers(sent);
    down.delete(SIGNATURE_HEADERS.version);
    down.delete(SIGNATURE_HEADERS.destination);
    expect(await admit(down, request, originKey, timestampSeconds)).toBe("bad-signature");
    const up = new Headers(await signRequest(signer, { ...request, destination: null, timestampSeconds, nonce }));
    up.set(SIGNATURE_HEADERS.version, "2");
    up.set(SIGNATURE_HEADERS.destination, destination.atom_id);
    expect(await admit(up, request, originKey, timestampSeconds)).toBe("bad-signature");
  });
});

it("a signed request is admitted, for any URL and body", async () => {
  const request = fc.record({
    method: fc.constantFrom("GET", "post", "DELETE"),
    path: fc.webPath(),
    query: fc.webQueryParameters(),
    body: fc.uint8Array({ maxLength: 200 }),
    hops: fc.nat({ max: 2 }),
    legacy: fc.boolean(),
    nowSeconds: fc.nat({ max: 2 ** 33 }),
    skewSeconds: fc.integer({ min: -60, max: 60 }),
  });
  await fc.assert(
    fc.asyncProperty(request, async ({ method, path, query, body, hops, legacy, nowSeconds, skewSeconds }) => {
      const url = new URL(`https://birch.example${path}${query && `?${query}`}`);
      const sent = { method, target: targetOf(url), body };
      const headers = await signRequest(signer, {
        ...sent,
        destination: legacy ? null : destination.atom_id,
        timestampSeconds: Math.max(0, nowSeconds + skewSeconds),
        nonce: freshNonce(),
        chain: Array(hops).fill(third.id),
      });
      const received = { method: method.toUpperCase(), target: targetOf(new URL(url.href)), body };
      expect(await admit(new Headers(headers), received, originKey, nowSeconds)).toBeNull();
    }),
  );
});
