import type { Context, MiddlewareHandler } from "hono";
import { createMiddleware } from "hono/factory";
import type * as z from "zod";
import { fromHex } from "../../../schema/crypto/bytes.ts";
import {
  checkSignedHeaders,
  readSignedHeaders,
  type SignedHeaders,
  targetOf,
  verifyRequest,
} from "../../../schema/crypto/request-signature.ts";
import type { FederationPolicy, TrustLevel } from "../../../schema/wire/federation.ts";
import type { Env } from "../../env.ts";
import type { AppEnv } from "../../http/app-env.ts";
import { parseJson, readUnproven } from "../../http/body.ts";
import { fail } from "../../http/errors.ts";
import { BodyRoom } from "../../http/unauthenticated-bodies.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { checkFederation } from "../../pool/federation-check.ts";
import { findPeerKey } from "../peering/store.ts";
import type { RateKind } from "./peer-rate-rules.ts";
import { countRefusal, flushPeerRefusalsSoon, type RefusalReason } from "./refusal-counters.ts";

/** On routes that have asked the kill switch: federation is on, and this is what the operator allows. */
export interface FederatedEnv {
  Bindings: AppEnv["Bindings"];
  Variables: AppEnv["Variables"] & { policy: FederationPolicy };
}

/** On routes behind `signedPeer`: a peer that we know sent exactly this, to us, once. */
export interface PeerEnv {
  Bindings: AppEnv["Bindings"];
  Variables: FederatedEnv["Variables"] & {
    peer: { atomId: string; trust: TrustLevel };
    /** What was signed; nothing of it is believed yet. */
    body: Uint8Array;
  };
}

/** Counts what federated routes refuse. */
export const countRefusedRequests = createMiddleware<FederatedEnv>(async (c, next) => {
  await next();
  const code = c.get("refusal");
  // This code is counted by its reason, where the request is refused.
  if (code !== undefined && code !== "federation/unauthenticated") countRefusal(code);
});

/** For routes that nobody signs. Every federated route asks the kill switch; a test walks them. */
export const federated = createMiddleware<FederatedEnv>(async (c, next) => {
  const refusal = await refuseWhileOff(c);
  if (refusal !== null) return refusal;
  await next();
});

/** Null while federation is on: then the policy is in the context. */
async function refuseWhileOff(c: Context): Promise<Response | null> {
  const checked = await checkFederation(c.env);
  if (!checked.open) return fail(c, checked.code);
  c.set("policy", checked.policy);
  return null;
}

/** With our time, by which a peer whose clock is wrong can find that out. */
export const dated = createMiddleware(async (c, next) => {
  await next();
  c.header("date", new Date().toUTCString());
});

/** What `legacy_signatures` must say for version 1 to be heard here; `never` for what it may not do (docs/spec/federation.md#signed-requests). */
export type Legacy = "reads" | "all" | "never";

const HEARD_WHEN: Record<FederationPolicy["legacy_signatures"], readonly Legacy[]> = {
  off: [],
  reads: ["reads"],
  all: ["reads", "all"],
};

export interface SignedRule {
  legacy: Legacy;
  /** The rate of docs/spec/pool.md#limits that the request is taken from. */
  rate: RateKind;
  /** Where a peer below trust 2 has another. */
  rateBelow2?: RateKind;
  minTrust: TrustLevel;
  /** What the operator can close with `accept_reads`. */
  isRead?: boolean;
}

/**
 * In this order: shapes, window, destination, hops; the kill switch; the body; the key and the signature; then the peer's
 * `Bond`, which consumes the nonce. A stranger wakes no object and costs one verification, as a known peer does.
 */
export function signedPeer(rule: SignedRule): MiddlewareHandler<PeerEnv> {
  return createMiddleware<PeerEnv>(async (c, next) => {
    const read = await readSigned(c, rule.legacy);
    if (read instanceof Response) return read;
    const { headers, body } = read;
    const key = await findPeerKey(c.env.DB, headers.origin);
    const verified = await verifyRequest(read, { method: c.req.method, target: read.target, body }, key);
    if (!verified.verified) return unauthenticated(c, verified.reason);
    const { version, nonce, timestampSeconds } = headers;
    const request = { version, nonce, timestampSeconds, kind: rule.rate, kindBelow2: rule.rateBelow2 };
    const admitted = await c.env.BOND.getByName(headers.origin).admit(request, c.var.policy);
    if (!admitted.ok) {
      if (admitted.code === "federation/unauthenticated") return unauthenticated(c, admitted.reason);
      return fail(c, admitted.code, { retryAfterSeconds: admitted.retryAfterSeconds });
    }
    c.executionCtx.waitUntil(flushPeerRefusalsSoon(c.env));
    if (admitted.trust < rule.minTrust) return fail(c, "federation/untrusted");
    if (rule.isRead && !c.var.policy.accept_reads) return fail(c, "federation/reads-off");
    c.set("peer", { atomId: headers.origin, trust: admitted.trust });
    c.set("body", body);
    await next();
  });
}

export interface ReadSigned {
  headers: SignedHeaders;
  signature: Uint8Array;
  target: string;
  body: Uint8Array;
}

/** Of this isolate. */
const bodies = new BodyRoom();

/** The checks that need no key, and the body's bytes. Junk ends before anything is asked for it. */
export async function readSigned(c: Context, legacy: Legacy): Promise<ReadSigned | Response> {
  const env: Env = c.env;
  const read = readSignedHeaders(c.req.raw.headers);
  if (!read.ok) return unauthenticated(c, read.reason);
  const refusal = checkSignedHeaders(read.headers, {
    self: (await poolKeys(env)).atomId,
    nowSeconds: Math.floor(Date.now() / 1_000),
    allowVersion1: legacy !== "never",
  });
  if (refusal !== null) return unauthenticated(c, refusal);
  const isOff = await refuseWhileOff(c);
  if (isOff !== null) return isOff;
  const policy: FederationPolicy = c.get("policy");
  const isHeard = read.headers.version === 2 || HEARD_WHEN[policy.legacy_signatures].includes(legacy);
  if (!isHeard) return unauthenticated(c, "version-1-refused");
  const body = await readUnproven(c.req.raw, bodies);
  if (body === "unreadable") return unauthenticated(c, "unreadable-body");
  if (body === "dropped") return fail(c, "federation/rate-limited", { retryAfterSeconds: 1 });
  const target = targetOf(new URL(c.req.url));
  return { headers: read.headers, signature: read.signature, target, body };
}

/** First contact (docs/spec/federation.md#signed-requests): the key comes with the body, and must be that of the id which signs. Null when it holds. */
export async function refuseUnlessSignedBy(
  c: Context,
  read: ReadSigned,
  said: { atomId: string; publicKeyHex: string },
): Promise<Response | null> {
  const key = said.atomId === read.headers.origin ? fromHex(said.publicKeyHex) : null;
  const request = { method: c.req.method, target: read.target, body: read.body };
  const verified = await verifyRequest(read, request, key);
  return verified.verified ? null : unauthenticated(c, verified.reason);
}

/** What a signed body says, in its shape; a refusal otherwise. */
export function signedBody<Shape extends z.ZodType>(
  c: Context,
  bytes: Uint8Array,
  shape: Shape,
): z.output<Shape> | Response {
  const json = parseJson(bytes);
  if (!json.ok) return fail(c, json.code, { message: json.message });
  const body = shape.safeParse(json.value);
  if (body.success) return body.data;
  return fail(c, "http/invalid-body", { param: body.error.issues[0]?.path.join(".") ?? "" });
}

/** One answer whatever the cause, with our time in it, so that a skewed clock can be told from the rest (docs/spec/federation.md#signed-requests). */
export function unauthenticated(c: Context, reason: RefusalReason): Response {
  countRefusal(reason);
  const response = fail(c, "federation/unauthenticated");
  response.headers.set("date", new Date().toUTCString());
  return response;
}
