import { describe, expect, it } from "vitest";
import { concat, toHex } from "../../../schema/crypto/bytes.ts";
import { isStrictlyEncoded } from "../../../schema/crypto/strict-ed25519.ts";
import { L, littleEndian, P, signCases, smallOrderEncodings } from "./ed25519-cases.ts";

// Tested directly, because Node itself refuses some of these and workerd does not.
const [good] = signCases();
if (!good) throw new Error("no vectors");
const { publicKey, signature } = good;
const [nonce, s] = [signature.subarray(0, 32), signature.subarray(32)];

const signs = [0n, 2n ** 255n];
const notCanonical = Array.from({ length: 19 }, (_, i) =>
  signs.map((sign) => littleEndian(P + BigInt(i) + sign)),
).flat();

describe.each([...notCanonical, ...smallOrderEncodings()].map(toHex))("%s", (encoded) => {
  const point = Uint8Array.from(encoded.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));

  it("is neither a key nor an R", () => {
    expect(isStrictlyEncoded(signature, point)).toBe(false);
    expect(isStrictlyEncoded(concat(point, s), publicKey)).toBe(false);
  });
});

it.each<[what: string, s: bigint, want: boolean]>([
  ["0", 0n, true],
  ["L - 1", L - 1n, true],
  ["L", L, false],
  ["L + 1", L + 1n, false],
  ["2^253", 2n ** 253n, false],
  ["2^256 - 1", 2n ** 256n - 1n, false],
])("S = %s", (_what, value, want) => {
  expect(isStrictlyEncoded(concat(nonce, littleEndian(value)), publicKey)).toBe(want);
});

it.each([2n, 3n, P - 2n])("y = %i passes: the curve decides whether it is a point", (y) => {
  for (const sign of signs) expect(isStrictlyEncoded(signature, littleEndian(y + sign))).toBe(true);
});
