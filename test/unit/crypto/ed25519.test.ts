import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { toHex, utf8 } from "../../../schema/crypto/bytes.ts";
import {
  generateSecretKey,
  publicKeyOf,
  sign,
  signerFrom,
  verify,
  verifyingKey,
  verifyWithNoble,
  verifyWithWebCrypto,
} from "../../../schema/crypto/ed25519.ts";
import { flipped, plusL, seed, signCases, verifyCases } from "./ed25519-cases.ts";

const cases = await verifyCases();

describe("signing", () => {
  it.each(signCases())("$name", async ({ secretKey, publicKey, message, signature }) => {
    expect(toHex(await publicKeyOf(secretKey))).toBe(toHex(publicKey));
    expect(toHex(await sign(secretKey, message))).toBe(toHex(signature));
  });

  it("a signer keeps its own copy of the secret, and shows none", async () => {
    const secret = generateSecretKey();
    const [publicKey, before] = [await publicKeyOf(secret), await sign(secret, utf8("text"))];
    const making = signerFrom(secret);
    secret.fill(0);
    const signer = await making;
    expect(signer.publicKey).toEqual(publicKey);
    expect(await signer.sign(utf8("text"))).toEqual(before);
    expect(await verify(before, utf8("text"), signer.publicKey)).toBe(true);
    expect(Object.keys(signer).sort()).toEqual(["id", "publicKey", "sign"]);
  });

  it.each([0, 31, 33, 64])("a secret of %i bytes is refused without being repeated", async (length) => {
    const secret = new Uint8Array(length).fill(0xab);
    for (const use of [() => publicKeyOf(secret), () => signerFrom(secret), () => sign(secret, secret)]) {
      await expect(use()).rejects.toThrow(/^an Ed25519 secret key is 32 bytes$/);
    }
  });

  it("random keys differ", () => expect(toHex(generateSecretKey())).not.toBe(toHex(generateSecretKey())));
});

describe("verification, every path", () => {
  it("has cases of both verdicts", () => {
    expect(cases.filter((c) => c.valid).length).toBeGreaterThan(10);
    expect(cases.filter((c) => !c.valid).length).toBeGreaterThan(230);
  });

  it.each(cases)("$valid: $name", async ({ signature, message, publicKey, valid }) => {
    expect(await verifyWithWebCrypto(signature, message, publicKey)).toBe(valid);
    expect(await verifyWithNoble(signature, message, publicKey)).toBe(valid);
    expect(await verify(signature, message, publicKey)).toBe(valid);
    expect(await (await verifyingKey(publicKey)).verify(signature, message)).toBe(valid);
  });

  const bit = (bytes: number) => fc.nat({ max: bytes * 8 - 1 });
  const change = fc.oneof(
    fc.record({ what: fc.constant("nothing" as const) }),
    fc.record({ what: fc.constant("signature bit" as const), bit: bit(64) }),
    fc.record({ what: fc.constant("key bit" as const), bit: bit(32) }),
    fc.record({ what: fc.constant("message" as const), appended: fc.uint8Array({ minLength: 1, maxLength: 3 }) }),
    fc.record({ what: fc.constant("S + L" as const), times: fc.bigInt(1n, 15n) }),
    fc.record({ what: fc.constant("R" as const), bytes: fc.uint8Array({ minLength: 32, maxLength: 32 }) }),
    fc.record({ what: fc.constant("key" as const), bytes: fc.uint8Array({ minLength: 32, maxLength: 32 }) }),
    fc.record({ what: fc.constant("all of it" as const), bytes: fc.uint8Array({ maxLength: 96 }) }),
  );

  it("gives one verdict for random keys, messages and damage", async () => {
    const given = fc.record({ name: fc.string(), message: fc.uint8Array({ maxLength: 200 }), change });
    const property = fc.asyncProperty(given, async ({ name, message, change }) => {
      const signer = await signerFrom(await seed(name));
      const honest = await signer.sign(message);
      let [signature, key, signedMessage] = [honest, signer.publicKey, message];
      if (change.what === "signature bit") signature = flipped(honest, change.bit);
      if (change.what === "key bit") key = flipped(key, change.bit);
      if (change.what === "message") signedMessage = Uint8Array.of(...message, ...change.appended);
      if (change.what === "S + L") signature = plusL(honest, change.times);
      if (change.what === "R") signature = Uint8Array.of(...change.bytes, ...honest.slice(32));
      if (change.what === "key") key = change.bytes;
      if (change.what === "all of it") signature = change.bytes;
      const verdict = await verifyWithWebCrypto(signature, signedMessage, key);
      expect(verdict).toBe(change.what === "nothing");
      expect(await verifyWithNoble(signature, signedMessage, key)).toBe(verdict);
    });
    await fc.assert(property, { numRuns: 250 });
  });
});

describe("a runtime whose WebCrypto has no Ed25519", () => {
  afterEach(() => {
    vi.restoreAllMocks();
    vi.resetModules();
  });

  it("signs and verifies the same, in JavaScript", async () => {
    vi.resetModules();
    const importKey = vi.spyOn(crypto.subtle, "importKey");
    importKey.mockRejectedValue(new DOMException("Unrecognized algorithm name", "NotSupportedError"));
    const without = await import("../../../schema/crypto/ed25519.ts");
    for (const { secretKey, publicKey, message, signature } of signCases()) {
      const signer = await without.signerFrom(secretKey);
      expect(toHex(signer.publicKey)).toBe(toHex(publicKey));
      expect(toHex(await signer.sign(message))).toBe(toHex(signature));
      expect(await without.verify(signature, message, publicKey)).toBe(true);
      expect(await without.verify(plusL(signature), message, publicKey)).toBe(false);
      const key = await without.verifyingKey(publicKey);
      expect(await key.verify(signature, message)).toBe(true);
      expect(await key.verify(plusL(signature), message)).toBe(false);
    }
    expect(importKey).toHaveBeenCalled();
  });
});
