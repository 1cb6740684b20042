/**
 * Ed25519 cases for every runtime. This file uses nothing of Node, so that tests inside workerd import it too. The
 * hostile cases are computed here from their algebra (the classes of "Taming the many EdDSAs", Chalkias et al. 2020,
 * and ZIP 215's matrix), so that a reader sees what each case is about. Nothing is random, so that every runtime gets
 * the same bytes.
 */

import { Point } from "@noble/ed25519";
import { concat, fromBase64, fromHex, toHex, utf8 } from "../../../schema/crypto/bytes.ts";
import { sha256 } from "../../../schema/crypto/hash.ts";
import rfc8032 from "../../vectors/ed25519-rfc8032.json" with { type: "json" };
import federation from "../../vectors/federation-signatures.json" with { type: "json" };
import events from "../../vectors/signed-events.json" with { type: "json" };

export interface VerifyCase {
  readonly name: string;
  readonly publicKey: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly valid: boolean;
}

/** Ed25519 is deterministic: signing must give exactly these bytes. */
export interface SignCase extends VerifyCase {
  readonly secretKey: Uint8Array;
}

export const L = 2n ** 252n + 27742317777372353535851937790883648493n;
export const P = 2n ** 255n - 19n;
/** A point of order 8: its multiples are the eight points of small order. */
const TORSION = Point.fromBytes(hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"));

export function signCases(): SignCase[] {
  const { responder, initiator } = federation.registration;
  return [
    ...rfc8032.cases.map((c) =>
      signed(`RFC 8032 ${c.comment}`, c.secret_key_hex, c.public_key_hex, hex(c.message_hex), hex(c.signature_hex)),
    ),
    ...federation.cases.map((c) =>
      byPool(federation.origin, c.comment, c.signed_bytes_hex, base64(c.signature_base64)),
    ),
    byPool(
      federation.destination,
      "registration, responder",
      responder.signed_bytes_hex,
      base64(responder.proof_base64),
    ),
    byPool(federation.origin, "registration, initiator", initiator.signed_bytes_hex, base64(initiator.proof_base64)),
    ...events.cases.map((c) =>
      byPool(events.origin, `event: ${c.comment}`, toHex(utf8(c.canonical)), hex(c.signature_hex)),
    ),
  ];
}

/** All of them: valid ones, the project's refused ones, and the hostile ones. */
export async function verifyCases(): Promise<VerifyCase[]> {
  return [
    ...signCases(),
    ...federation.refused.map((c) => ({
      name: `refused: ${c.comment}`,
      publicKey: hex(c.public_key_hex),
      message: hex(c.signed_bytes_hex),
      signature: base64(c.signature_base64),
      valid: false,
    })),
    ...(await torsionCases()),
    ...smallOrderMatrix(),
    ...malleations(),
  ];
}

/** S + L is the same scalar in the equation, and another signature in bytes. */
export function plusL(signature: Uint8Array, times = 1n): Uint8Array {
  const s = toInteger(signature.subarray(32)) + times * L;
  return concat(signature.subarray(0, 32), littleEndian(s));
}

// ---- "Taming the many EdDSAs": torsion in A and R

interface TorsionClass {
  readonly name: string;
  /** A = [a]B + [keyTorsion]T, R = [r]B + [nonceTorsion]T, T of order 8. */
  readonly a: bigint;
  readonly keyTorsion: bigint;
  readonly r: bigint;
  readonly nonceTorsion: bigint;
  /** Whether the equation without the cofactor holds; with the cofactor it always holds. */
  readonly cofactorless: boolean;
  readonly valid: boolean;
}

const A = 0x5eed_0001_5eed_0002_5eed_0003_5eed_0004n;
const R = 0xc0de_0001_c0de_0002_c0de_0003_c0de_0004n;
// biome-ignore format: a table reads best as one
const TORSION_CLASSES: TorsionClass[] = [
  { name: "A and R of prime order", a: A, keyTorsion: 0n, r: R, nonceTorsion: 0n, cofactorless: true, valid: true },
  { name: "A and R small, S = 0", a: 0n, keyTorsion: 1n, r: 0n, nonceTorsion: 7n, cofactorless: true, valid: false },
  { name: "A and R small, only cofactored", a: 0n, keyTorsion: 1n, r: 0n, nonceTorsion: 3n, cofactorless: false, valid: false },
  { name: "A small, R of prime order", a: 0n, keyTorsion: 1n, r: R, nonceTorsion: 0n, cofactorless: true, valid: false },
  { name: "A of order 4", a: 0n, keyTorsion: 2n, r: R, nonceTorsion: 0n, cofactorless: true, valid: false },
  { name: "A of order 2", a: 0n, keyTorsion: 4n, r: R, nonceTorsion: 0n, cofactorless: true, valid: false },
  { name: "A the identity", a: 0n, keyTorsion: 0n, r: R, nonceTorsion: 0n, cofactorless: true, valid: false },
  { name: "A small, R mixed", a: 0n, keyTorsion: 1n, r: R, nonceTorsion: 5n, cofactorless: true, valid: false },
  { name: "A mixed, R small", a: A, keyTorsion: 1n, r: 0n, nonceTorsion: 3n, cofactorless: true, valid: false },
  { name: "A of prime order, R the identity", a: A, keyTorsion: 0n, r: 0n, nonceTorsion: 0n, cofactorless: true, valid: false },
  { name: "A of prime order, R small", a: A, keyTorsion: 0n, r: 0n, nonceTorsion: 1n, cofactorless: false, valid: false },
  { name: "A of prime order, R mixed", a: A, keyTorsion: 0n, r: R, nonceTorsion: 1n, cofactorless: false, valid: false },
  { name: "A mixed, R of prime order, only cofactored", a: A, keyTorsion: 1n, r: R, nonceTorsion: 0n, cofactorless: false, valid: false },
  { name: "A and R mixed, only cofactored", a: A, keyTorsion: 1n, r: R, nonceTorsion: 1n, cofactorless: false, valid: false },
  // The owner of such a key can sign like this; no other party gains anything.
  { name: "A mixed, R of prime order", a: A, keyTorsion: 1n, r: R, nonceTorsion: 0n, cofactorless: true, valid: true },
  { name: "A and R mixed", a: A, keyTorsion: 1n, r: R, nonceTorsion: 5n, cofactorless: true, valid: true },
];

function torsionCases(): Promise<VerifyCase[]> {
  return Promise.all(TORSION_CLASSES.map(torsionCase));
}

/**
 * Tries messages until the torsion of [k]A equals that of R, or differs from it, as the class requires: about eight.
 */
async function torsionCase(wanted: TorsionClass): Promise<VerifyCase> {
  const publicKey = pointOf(wanted.a, wanted.keyTorsion).toBytes();
  const nonce = pointOf(wanted.r, wanted.nonceTorsion).toBytes();
  for (let n = 0; n < 1_000; n++) {
    const message = utf8(`${wanted.name} ${n}`);
    const k = await challenge(nonce, publicKey, message);
    // [S]B - [k]A = R exactly when the torsion parts of R and [k]A cancel.
    const holds = (wanted.nonceTorsion + (k % 8n) * wanted.keyTorsion) % 8n === 0n;
    if (holds !== wanted.cofactorless) continue;
    const signature = concat(nonce, littleEndian((wanted.r + k * wanted.a) % L));
    return { name: wanted.name, publicKey, message, signature, valid: wanted.valid };
  }
  throw new Error(`no message found for: ${wanted.name}`);
}

async function challenge(nonce: Uint8Array, publicKey: Uint8Array, message: Uint8Array): Promise<bigint> {
  return toInteger(new Uint8Array(await crypto.subtle.digest("SHA-512", concat(nonce, publicKey, message)))) % L;
}

function pointOf(scalar: bigint, torsion: bigint): Point {
  return Point.BASE.multiply(scalar, false).add(TORSION.multiply(torsion, false));
}

// ---- ZIP 215's matrix: every spelling of a small-order point as A and as R, S = 0

/** The eight canonical encodings, and the six others that some decoders take. */
export function smallOrderEncodings(): Uint8Array[] {
  const canonical = Array.from({ length: 8 }, (_, i) => TORSION.multiply(BigInt(i), false).toBytes());
  const signBit = 2n ** 255n;
  const others = [1n + signBit, P - 1n + signBit, P, P + signBit, P + 1n, P + 1n + signBit];
  return [...canonical, ...others.map(littleEndian)];
}

function smallOrderMatrix(): VerifyCase[] {
  const encodings = smallOrderEncodings();
  const message = utf8("every spelling of small order");
  return encodings.flatMap((publicKey) =>
    encodings.map((nonce) => ({
      name: `small order: A ${toHex(publicKey)}, R ${toHex(nonce)}`,
      publicKey,
      message,
      signature: concat(nonce, new Uint8Array(32)),
      valid: false,
    })),
  );
}

// ---- Other encodings of a valid signature, and values of the wrong size

function malleations(): VerifyCase[] {
  const [first] = signCases();
  if (!first) throw new Error("no vectors");
  const { publicKey, message, signature } = first;
  const nonce = signature.subarray(0, 32);
  const s = signature.subarray(32);
  const withS = (value: bigint) => concat(nonce, littleEndian(value));
  const refused: [what: string, signature: Uint8Array, publicKey?: Uint8Array][] = [
    // 15 is the last multiple that fits 32 bytes.
    ...Array.from({ length: 15 }, (_, i): [string, Uint8Array] => [`S + ${i + 1} L`, plusL(signature, BigInt(i + 1))]),
    ["S = 0", withS(0n)],
    ["S = 1", withS(1n)],
    ["S = L - 1", withS(L - 1n)],
    ["S = L", withS(L)],
    ["S = 2^252", withS(2n ** 252n)],
    ["S = 2^256 - 1", withS(2n ** 256n - 1n)],
    ["L - S", withS(L - toInteger(s))],
    ["R with the other sign", concat(flipped(nonce, 255), s)],
    ["R = 2^255 - 1, not canonical", concat(littleEndian(2n ** 255n - 1n), s)],
    ["R = p + 3, not canonical", concat(littleEndian(P + 3n), s)],
    ["R = 2, not on the curve", concat(littleEndian(2n), s)],
    ["all zero", new Uint8Array(64)],
    ["all ones", new Uint8Array(64).fill(0xff)],
    ["S before R", concat(s, nonce)],
    ["empty signature", new Uint8Array()],
    ["63 bytes", signature.slice(0, 63)],
    ["65 bytes", concat(signature, new Uint8Array(1))],
    ["the key with the other sign", signature, flipped(publicKey, 255)],
    ["a key not on the curve", signature, littleEndian(2n)],
    ["a key that is not canonical, y = p + 3", signature, littleEndian(P + 3n)],
    ["an empty key", signature, new Uint8Array()],
    ["a key of 31 bytes", signature, publicKey.slice(0, 31)],
    ["a key of 33 bytes", signature, concat(publicKey, new Uint8Array(1))],
  ];
  const cases = refused.map(([name, changed, key]) => ({
    name,
    publicKey: key ?? publicKey,
    message,
    signature: changed,
    valid: false,
  }));
  return [...cases, { ...first, name: "another message", message: utf8("another"), valid: false }];
}

/** Bit 0 is the lowest of the first byte. */
export function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  return bytes.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
}

/** 32 bytes that depend only on the text. */
export function seed(text: string): Promise<Uint8Array> {
  return sha256(utf8(text));
}

// ---- encoding

type Pool = { secret_key_hex: string; public_key_hex: string };

function byPool(pool: Pool, comment: string, messageHex: string, signature: Uint8Array): SignCase {
  return signed(comment, pool.secret_key_hex, pool.public_key_hex, hex(messageHex), signature);
}

function signed(name: string, secretHex: string, publicHex: string, message: Uint8Array, signature: Uint8Array) {
  return { name, secretKey: hex(secretHex), publicKey: hex(publicHex), message, signature, valid: true };
}

function hex(text: string): Uint8Array {
  const bytes = fromHex(text);
  if (bytes === null) throw new Error(`a vector is not hex: ${text}`);
  return bytes;
}

function base64(text: string): Uint8Array {
  const bytes = fromBase64(text);
  if (bytes === null) throw new Error(`a vector is not base64: ${text}`);
  return bytes;
}

/** 32 bytes. */
export function littleEndian(value: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}

function toInteger(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => value * 256n + BigInt(byte), 0n);
}
