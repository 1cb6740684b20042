/**
 * Encodings that are refused before any curve arithmetic (docs/spec/identity.md#keys-and-signatures), so that all implementations behind `verify` give
 * the same verdict. The whole rule, which `test/unit/crypto/ed25519-cases.ts` tests on both paths:
 *
 * 1. A (the key) and R are canonical encodings, y < p, neither of small order;
 * 2. S < L;
 * 3. the cofactorless equation of RFC 8032 section 5.1.7, compared as bytes: encode([S]B - [k]A) = R, k reduced mod L.
 *
 * workerd's BoringSSL does 2 and 3 alone: it accepts forgeries under a small-order or non-canonical key, and an R of
 * small order. Node 24 refuses small order itself. Noble's `{ zip215: false }` checks the cofactored equation and lets
 * R be of small order, and so accepts signatures that both runtimes refuse.
 * A key with a torsion component that is not of small order is accepted: only its owner can sign with it.
 */

/** The only sizes that Ed25519 has. */
export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

// Little-endian, as RFC 8032 encodes them.
/** p = 2^255 - 19. */
const P = littleEndian(2n ** 255n - 19n);
/** L = 2^252 + 27742317777372353535851937790883648493, the order of the base point. */
const L = littleEndian(2n ** 252n + 27742317777372353535851937790883648493n);
/** y of a point of order 8; the other is its negative. */
const Y8 = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
/** The eight points of small order have five y coordinates: of order 1, 2, 4 and, twice, 8. */
const SMALL_ORDER_Y = [1n, 2n ** 255n - 20n, 0n, Y8, 2n ** 255n - 19n - Y8].map(littleEndian);

/**
 * Checks the encodings. False: the signature is refused. True: the equation decides. It reads only public bytes, so it
 * need not run in constant time.
 */
export function isStrictlyEncoded(signature: Uint8Array, publicKey: Uint8Array): boolean {
  return (
    signature.length === SIGNATURE_BYTES &&
    isStrictlyEncodedKey(publicKey) &&
    isAcceptablePoint(signature.subarray(0, 32)) &&
    isLess(signature.subarray(32), L)
  );
}

/** Whether the encoding of a public key is acceptable. It may still not be a point of the curve. */
export function isStrictlyEncodedKey(publicKey: Uint8Array): boolean {
  return publicKey.length === PUBLIC_KEY_BYTES && isAcceptablePoint(publicKey);
}

/**
 * Checks y without the sign bit. This also refuses x = 0 with the sign bit set (only y = 1 and y = -1), which is not
 * canonical.
 */
function isAcceptablePoint(encoded: Uint8Array): boolean {
  const y = encoded.slice();
  y[31] = (y[31] ?? 0) & 0x7f;
  return isLess(y, P) && !SMALL_ORDER_Y.some((small) => small.every((byte, i) => byte === y[i]));
}

/** a < b, both 32 bytes, little-endian. */
function isLess(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 31; i >= 0; i--) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

function littleEndian(value: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}
