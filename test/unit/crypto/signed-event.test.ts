import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { concat, fromBase64, fromHex, toBase64, toHex, utf8 } from "../../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../../schema/crypto/canonical.ts";
import { type Signer, signerFrom } from "../../../schema/crypto/ed25519.ts";
import { sha256Hex } from "../../../schema/crypto/hash.ts";
import {
  equivocation,
  GENESIS_CHAIN,
  nextChain,
  openCheckpoint,
  openEvent,
  signCheckpoint,
  signEvent,
} from "../../../schema/crypto/signed-event.ts";
import { type Checkpoint, type SignedEvent, visibility } from "../../../schema/wire/events.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import vectors from "../../vectors/signed-events.json" with { type: "json" };
import { seed } from "./ed25519-cases.ts";

const bytesOf = (hex: string) => fromHex(hex) ?? new Uint8Array();
const origin = await signerFrom(bytesOf(vectors.origin.secret_key_hex));
const stranger = await signerFrom(await seed("stranger"));

const [first] = vectors.cases;
if (!first) throw new Error("no vectors");
const wire: SignedEvent = {
  event_bytes: toBase64(utf8(first.canonical)),
  origin_pubkey: vectors.origin.public_key_hex,
  signature: first.signature_hex,
  content_id: first.content_id,
};

/** An event with a matching id, signed by any key over any bytes. */
async function forged(bytes: Uint8Array, signer: Signer = origin): Promise<SignedEvent> {
  return {
    event_bytes: toBase64(bytes),
    origin_pubkey: toHex(signer.publicKey),
    signature: toHex(await signer.sign(bytes)),
    content_id: await sha256Hex(bytes),
  };
}

describe("the published vectors", () => {
  it.each(vectors.cases)("$comment", async ({ event, canonical, content_id, signature_hex }) => {
    const signed = await signEvent(origin, { ...event, visibility: visibility.parse(event.visibility) });
    expect(signed).toEqual({
      event_bytes: toBase64(utf8(canonical)),
      origin_pubkey: vectors.origin.public_key_hex,
      signature: signature_hex,
      content_id,
    });
    const opened = await openEvent(signed);
    // JCS writes -0 as 0 (RFC 8785 section 3.2.2.3).
    expect(opened).toEqual({ ok: true, event: JSON.parse(canonical), contentId: content_id, bytes: utf8(canonical) });
  });

  it.each(vectors.refused)("refused: $comment", async ({ wire, code }) => {
    expect(await openEvent(wire)).toEqual({ ok: false, code });
  });
});

describe("an event with one byte changed is refused", () => {
  const flipped = (bytes: Uint8Array, at: number) => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));

  it("at any position of its bytes", async () => {
    const bytes = fromBase64(wire.event_bytes) ?? new Uint8Array();
    for (let at = 0; at < bytes.length; at++) {
      const event_bytes = toBase64(flipped(bytes, at));
      expect((await openEvent({ ...wire, event_bytes })).ok, `byte ${at}`).toBe(false);
      // Also with an id that matches the changed bytes.
      const content_id = await sha256Hex(flipped(bytes, at));
      expect((await openEvent({ ...wire, event_bytes, content_id })).ok, `byte ${at}, own id`).toBe(false);
    }
  });

  it.each<[field: "origin_pubkey" | "signature" | "content_id", code: string]>([
    ["origin_pubkey", "events/malformed"],
    ["signature", "events/invalid-signature"],
    ["content_id", "events/content-hash-mismatch"],
  ])("at any position of %s", async (field, code) => {
    const bytes = bytesOf(wire[field]);
    for (let at = 0; at < bytes.length; at++) {
      expect(await openEvent({ ...wire, [field]: toHex(flipped(bytes, at)) })).toEqual({ ok: false, code });
    }
  });
});

describe("an event is refused", () => {
  const eventBytes = (change: object) => canonicalBytes({ ...first.event, ...change });
  const hlc = first.event.hlc;

  it.each<[what: string, bytes: Uint8Array]>([
    ["with an unknown field", eventBytes({ note: "" })],
    ["of another version", eventBytes({ v: 2 })],
    ["whose type is not a word", eventBytes({ type: "Worker Joined" })],
    ["whose visibility is unknown", eventBytes({ visibility: "everyone" })],
    ["whose payload is not an object", eventBytes({ payload: [] })],
    ["whose clock has a fraction", eventBytes({ hlc: { ...hlc, physical_us: 1.5 } })],
    ["whose clock is negative", eventBytes({ hlc: { ...hlc, logical: -1 } })],
    ["whose counter is out of bounds", eventBytes({ hlc: { ...hlc, logical: LIMITS.clockLogicalMax + 1 } })],
    ["that is direct and names no atom id", eventBytes({ visibility: "direct", payload: { peer: "bob" } })],
    ["that is larger than 64 KiB", eventBytes({ payload: { text: "x".repeat(LIMITS.eventBytes) } })],
    ["with another spelling of a number", utf8(first.canonical.replace('"logical":0', '"logical":0.0'))],
    ["with a needless escape", utf8(first.canonical.replace("w1", "\\u00771"))],
    ["with a byte order mark", concat(Uint8Array.of(0xef, 0xbb, 0xbf), utf8(first.canonical))],
    ["that is not UTF-8", concat(utf8('{"a":"'), Uint8Array.of(0xff), utf8('"}'))],
    ["with a lone surrogate", utf8(first.canonical.replace("w1", "\\ud800"))],
    ["that nests without end", utf8("[".repeat(60_000))],
    ["that is empty", new Uint8Array()],
  ])("%s", async (_what, bytes) => {
    expect(await openEvent(await forged(bytes))).toEqual({ ok: false, code: "events/malformed" });
  });

  it("when another key signed it in the origin's name", async () => {
    expect(await openEvent(await forged(utf8(first.canonical), stranger))).toMatchObject({ code: "events/malformed" });
    const signature = toHex(await stranger.sign(utf8(first.canonical)));
    expect(await openEvent({ ...wire, signature })).toMatchObject({ code: "events/invalid-signature" });
  });

  it.each<[what: string, given: unknown]>([
    ["null", null],
    ["an object with an unknown field", { ...wire, ttl: 3 }],
    ["an object with a missing field", { ...wire, signature: undefined }],
    ["base64 without its padding", { ...wire, event_bytes: "e30" }],
    ["hex in capitals", { ...wire, content_id: wire.content_id.toUpperCase() }],
  ])("that is %s", async (_what, given) => {
    expect(await openEvent(given)).toEqual({ ok: false, code: "events/malformed" });
  });

  it("but never for its type: an unknown type is data, and so is a payload with unusual names", async () => {
    const payload = JSON.parse('{"__proto__": {"a": 1}, "constructor": [null, true, "ü"]}');
    const signed = await signEvent(origin, { type: "moon_phase", visibility: "public", payload, hlc });
    const opened = await openEvent(signed);
    expect(opened.ok && opened.event.type).toBe("moon_phase");
    expect(opened.ok && new TextDecoder().decode(opened.bytes)).toContain('"__proto__":{"a":1}');
  });

  it("by its own author if it is too large", async () => {
    const payload = { text: "x".repeat(LIMITS.eventBytes) };
    await expect(signEvent(origin, { type: "overview", visibility: "peers", payload, hlc })).rejects.toThrow(TypeError);
  });
});

const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash("sha256").update(bytes).digest());

it("a chain hashes the previous chain and the content id, from 32 zero bytes on", () => {
  const one = nextChain(GENESIS_CHAIN, first.content_id, sha256);
  expect(one).toBe(toHex(sha256(concat(new Uint8Array(32), bytesOf(first.content_id)))));
  expect(nextChain(one, first.content_id, sha256)).toBe(toHex(sha256(concat(bytesOf(one), bytesOf(first.content_id)))));
  expect(() => nextChain("", first.content_id, sha256)).toThrow(TypeError);
});

describe("a checkpoint", async () => {
  const checkpointBody = {
    log_id: "0f".repeat(16),
    audience: "public",
    seq: 7,
    chain: "ab".repeat(32),
    hlc: { physical_us: 1, logical: 0 },
  } as const;

  it("is opened as it was signed, and its bytes are always the same", async () => {
    const signed = await signCheckpoint(origin, checkpointBody);
    expect(await openCheckpoint(signed)).toEqual({ ok: true, checkpoint: signed.checkpoint });
    expect(await signCheckpoint(origin, checkpointBody)).toEqual(signed);
  });

  it.each<[what: string, change: Partial<Checkpoint>, code: string]>([
    ["another number", { seq: 8 }, "events/invalid-signature"],
    ["another chain", { chain: "ac".repeat(32) }, "events/invalid-signature"],
    ["another log", { log_id: "0e".repeat(16) }, "events/invalid-signature"],
    ["another audience", { audience: "peers" }, "events/invalid-signature"],
    ["another origin", { origin: stranger.id }, "events/malformed"],
    ["a negative number", { seq: -1 }, "events/malformed"],
  ])("with %s is refused", async (_what, change, code) => {
    const signed = await signCheckpoint(origin, checkpointBody);
    const checkpoint = { ...signed.checkpoint, ...change };
    expect(await openCheckpoint({ ...signed, checkpoint })).toEqual({ ok: false, code });
  });

  it("never verifies as an event, nor an event as a checkpoint", async () => {
    const signed = await signCheckpoint(origin, checkpointBody);
    expect(await openEvent(await forged(canonicalBytes(signed.checkpoint)))).toMatchObject({ ok: false });
    expect(await openCheckpoint({ ...signed, checkpoint: first.event })).toMatchObject({ ok: false });
  });

  const base = (await signCheckpoint(origin, checkpointBody)).checkpoint;
  it.each<[what: string, change: Partial<Checkpoint>, want: boolean]>([
    ["the same checkpoint", {}, false],
    ["another chain at one number", { chain: "00".repeat(32) }, true],
    ["another time at one number", { hlc: { ...base.hlc, physical_us: 2 } }, true],
    ["a later number", { seq: 8, chain: "00".repeat(32) }, false],
    ["another audience", { audience: "peers", chain: "00".repeat(32) }, false],
    ["another log, as after a restored backup", { log_id: "00".repeat(16), chain: "00".repeat(32) }, false],
    ["another origin", { origin: stranger.id, chain: "00".repeat(32) }, false],
  ])("proves equivocation beside %s: %#", (_what, change, want) => {
    expect(equivocation(base, { ...base, ...change })).toBe(want);
    expect(equivocation({ ...base, ...change }, base)).toBe(want);
  });
});
