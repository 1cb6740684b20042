/**
 * Signed requests between pools (docs/spec/federation.md#signed-requests): header shapes, signed bytes, signing, verification. The order of
 * the checks is that section's: `readSignedHeaders`, `checkSignedHeaders`, `verifyRequest`; the peer's `Bond` does the rest.
 * A stranger gets the same answer for every reason. The reasons are for counters.
 */
import { LIMITS } from "../wire/limits.ts";
import { concat, fromBase64, toBase64, toHex, utf8 } from "./bytes.ts";
import { type Signer, verify } from "./ed25519.ts";
import { sha256Hex } from "./hash.ts";
import { idOfPublicKey } from "./ids.ts";

export const SIGNATURE_HEADERS = Object.freeze({
  atomId: "X-IAMINE-Atom-Id",
  timestamp: "X-IAMINE-Timestamp",
  nonce: "X-IAMINE-Nonce",
  hop: "X-IAMINE-Hop",
  chain: "X-IAMINE-Forward-Chain",
  signature: "X-IAMINE-Signature",
  version: "X-IAMINE-Version",
  destination: "X-IAMINE-Destination",
} as const);

/** All reasons, so that the counters are a fixed set. */
export const SIGNATURE_REFUSALS = [
  "malformed-version",
  "malformed-atom-id",
  "malformed-timestamp",
  "malformed-nonce",
  "malformed-hop",
  "malformed-chain",
  "malformed-destination",
  "malformed-signature",
  "version-1-refused",
  "clock-skew",
  "wrong-destination",
  "reflection",
  "too-many-hops",
  "chain-length",
  "loop",
  "unknown-peer",
  "wrong-key",
  "bad-signature",
  "replayed",
] as const;
export type SignatureRefusal = (typeof SIGNATURE_REFUSALS)[number];

export interface SignedHeaders {
  /** Version 1 binds neither origin, destination nor query, so such a request can be replayed at another pool. */
  readonly version: 1 | 2;
  /** Atom id of the signer; only a claim until `verifyRequest` has checked it. */
  readonly origin: string;
  /** Atom id; null in version 1. */
  readonly destination: string | null;
  /** Unix seconds. */
  readonly timestampSeconds: number;
  readonly nonce: string;
  readonly hop: number;
  /** Atom ids of the pools that have forwarded the request. */
  readonly chain: readonly string[];
}

/** The signed parts besides the headers. `target` is the WHATWG URL's `pathname + search`; version 1 drops the query. */
export interface SignedRequest {
  readonly method: string;
  readonly target: string;
  readonly body: Uint8Array;
}

export type HeadersRead =
  | { ok: true; headers: SignedHeaders; signature: Uint8Array }
  | { ok: false; reason: SignatureRefusal };

const ATOM_ID = /^[0-9a-f]{64}$/;
/** Twelve digits last for 29,000 years and stay far below 2^53. */
const TIMESTAMP = /^(?:0|[1-9][0-9]{0,11})$/;
const NONCE_V1 = /^[0-9A-Fa-f]{8,64}$/;
const NONCE_V2 = /^[0-9a-f]{32}$/;
/** One digit. A separate check after the window refuses too many hops. */
const HOP = /^[0-9]$/;
const CHAIN = /^(?:[0-9a-f]{64}(?:,[0-9a-f]{64}){0,8})?$/;
const SIGNATURE = /^[A-Za-z0-9+/]{86}==$/;

/**
 * Reads the headers; each must have its exact form and size. A header that was sent twice arrives joined by ", ", which
 * no form allows. Timestamp and hop have one spelling each, so that the number determines the signed text.
 */
export function readSignedHeaders(headers: Pick<Headers, "get">): HeadersRead {
  const refuse = (reason: SignatureRefusal): HeadersRead => ({ ok: false, reason });
  const versionText = headers.get(SIGNATURE_HEADERS.version);
  if (versionText !== null && versionText !== "2") return refuse("malformed-version");
  const version = versionText === null ? 1 : 2;

  const origin = headers.get(SIGNATURE_HEADERS.atomId) ?? "";
  if (!ATOM_ID.test(origin)) return refuse("malformed-atom-id");
  const timestamp = headers.get(SIGNATURE_HEADERS.timestamp) ?? "";
  if (!TIMESTAMP.test(timestamp)) return refuse("malformed-timestamp");
  const nonce = headers.get(SIGNATURE_HEADERS.nonce) ?? "";
  if (!(version === 2 ? NONCE_V2 : NONCE_V1).test(nonce)) return refuse("malformed-nonce");
  const hop = headers.get(SIGNATURE_HEADERS.hop) ?? "0";
  if (!HOP.test(hop)) return refuse("malformed-hop");
  // Pools of the existing network send an empty header if there is no chain.
  const chain = headers.get(SIGNATURE_HEADERS.chain) ?? "";
  if (!CHAIN.test(chain)) return refuse("malformed-chain");
  const destination = headers.get(SIGNATURE_HEADERS.destination);
  if (version === 2 ? destination === null || !ATOM_ID.test(destination) : destination !== null) {
    return refuse("malformed-destination");
  }
  const signatureText = headers.get(SIGNATURE_HEADERS.signature) ?? "";
  const signature = SIGNATURE.test(signatureText) ? fromBase64(signatureText) : null;
  if (signature === null) return refuse("malformed-signature");

  return {
    ok: true,
    headers: {
      version,
      origin,
      destination,
      timestampSeconds: Number(timestamp),
      nonce,
      hop: Number(hop),
      chain: chain === "" ? [] : chain.split(","),
    },
    signature,
  };
}

/**
 * The checks that need no key; null if they pass. `self`: our atom id. `allowVersion1`: whether the policy allows
 * version 1 at this endpoint.
 */
export function checkSignedHeaders(
  headers: SignedHeaders,
  { self, nowSeconds, allowVersion1 }: { self: string; nowSeconds: number; allowVersion1: boolean },
): SignatureRefusal | null {
  if (headers.version === 1 && !allowVersion1) return "version-1-refused";
  if (Math.abs(nowSeconds - headers.timestampSeconds) > LIMITS.signedRequestWindowSeconds) return "clock-skew";
  if (headers.version === 2 && headers.destination !== self) return "wrong-destination";
  // Version 1 names no destination, so a request that we sent to another pool could be sent back to us.
  if (headers.origin === self) return "reflection";
  if (headers.hop > LIMITS.hops) return "too-many-hops";
  if (headers.chain.length !== headers.hop) return "chain-length";
  return headers.chain.includes(self) ? "loop" : null;
}

/** The bytes under the signature (docs/spec/federation.md#signed-requests). */
export async function signedBytes(headers: SignedHeaders, request: SignedRequest): Promise<Uint8Array> {
  const { timestampSeconds, nonce, hop, origin, destination } = headers;
  const method = request.method.toUpperCase();
  const chain = headers.chain.join(",");
  if (headers.version === 1) {
    const path = request.target.split("?", 1)[0];
    return concat(utf8(`${method}\n${path}\n${timestampSeconds}\n${nonce}\n${hop}\n${chain}\n`), request.body);
  }
  const bodySha256 = await sha256Hex(request.body);
  const lines = ["iamine-fed-v2", method, request.target, timestampSeconds, nonce, hop, chain];
  return utf8(`${[...lines, origin, destination, bodySha256].join("\n")}\n`);
}

/**
 * The signed form of a URL: `pathname + search`. Both sides take it from the parsed URL, so that both sign the same
 * text.
 */
export function targetOf(url: URL): string {
  return url.pathname + url.search;
}

/** 16 random bytes in lowercase hex, which both versions accept. */
export function freshNonce(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(16)));
}

export interface OutgoingRequest extends SignedRequest {
  /** Atom id of the receiver. Null signs version 1, for a peer whose card lacks `sig_versions` (docs/spec/federation.md#signed-requests). */
  readonly destination: string | null;
  readonly timestampSeconds: number;
  readonly nonce: string;
  /** Atom ids of the pools that have forwarded the request. */
  readonly chain?: readonly string[];
}

/** Signs a request. Returns the headers to send. The hop count is the length of the chain. */
export async function signRequest(signer: Signer, request: OutgoingRequest): Promise<Record<string, string>> {
  const { destination, timestampSeconds, nonce, chain = [] } = request;
  const version = destination === null ? 1 : 2;
  const hop = chain.length;
  const message = await signedBytes(
    { version, origin: signer.id, destination, timestampSeconds, nonce, hop, chain },
    request,
  );
  return {
    [SIGNATURE_HEADERS.atomId]: signer.id,
    [SIGNATURE_HEADERS.timestamp]: String(timestampSeconds),
    [SIGNATURE_HEADERS.nonce]: nonce,
    [SIGNATURE_HEADERS.hop]: String(hop),
    [SIGNATURE_HEADERS.chain]: chain.join(","),
    ...(destination !== null && {
      [SIGNATURE_HEADERS.version]: "2",
      [SIGNATURE_HEADERS.destination]: destination,
    }),
    [SIGNATURE_HEADERS.signature]: toBase64(await signer.sign(message)),
  };
}

export type Verification = { verified: true } | { verified: false; reason: SignatureRefusal };

/** A key that nobody owns. It is a point of full order, so that a verification with it runs all steps. */
const DUMMY_KEY = Uint8Array.of(0x58, ...new Uint8Array(31).fill(0x66));

/**
 * Verifies the signature. `publicKey`: the key of a known peer, or on first contact the key in the body. Null for an
 * unknown peer: this costs the same verification, so that the sender cannot tell whether the peer is known. The key
 * must belong to the origin header. So the signature binds this header, in version 1 too.
 */
export async function verifyRequest(
  read: { headers: SignedHeaders; signature: Uint8Array },
  request: SignedRequest,
  publicKey: Uint8Array | null,
): Promise<Verification> {
  const key = publicKey ?? DUMMY_KEY;
  const message = await signedBytes(read.headers, request);
  const [id, fits] = await Promise.all([idOfPublicKey(key), verify(read.signature, message, key)]);
  if (publicKey === null) return { verified: false, reason: "unknown-peer" };
  if (id !== read.headers.origin) return { verified: false, reason: "wrong-key" };
  return fits ? { verified: true } : { verified: false, reason: "bad-signature" };
}
