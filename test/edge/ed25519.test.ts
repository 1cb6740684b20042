import { expect, it } from "vitest";
import { verify, verifyingKey, verifyWithNoble, verifyWithWebCrypto } from "../../schema/crypto/ed25519.ts";
import { verifyCases } from "../unit/crypto/ed25519-cases.ts";

const cases = await verifyCases();

/** docs/spec/identity.md#keys-and-signatures: the same verdict in the runtime that the pool is deployed to. */
it.each(cases)("workerd and noble agree: $name", async ({ signature, message, publicKey, valid }) => {
  expect(await verifyWithWebCrypto(signature, message, publicKey)).toBe(valid);
  expect(await verifyWithNoble(signature, message, publicKey)).toBe(valid);
  expect(await verify(signature, message, publicKey)).toBe(valid);
  expect(await (await verifyingKey(publicKey)).verify(signature, message)).toBe(valid);
});
