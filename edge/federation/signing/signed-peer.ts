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
import { parseBody, readUnauthenticated } from "../../http/body.ts";
import { fail } from "../../http/errors.ts";
import { UnauthenticatedBodyBudget } from "../../http/unauthenticated-bodies.ts";
import { poolKeys } from "../../identity/pool-keys.ts";
import { checkFederation } from "../../pool/federation-check.ts";
import { bondForPeer } from "../bond-for.ts";
import { findPeerKey } from "../peering/store.ts";
import type { TrustUse } from "../peering/trust-rules.ts";
import type { RateKind } from "./peer-rate-rules.ts";
import { countRefusal, flushPeerRefusalsSoon, type RefusalReason } from "./refusal-counters.ts";

/** The context of routes behind the federation switch. Federation is on, and `policy` has the operator's settings. */
export interface FederatedEnv {
  Bindings: AppEnv["Bindings"];
  Variables: AppEnv["Variables"] & { policy: FederationPolicy };
}

/** The context of routes behind `signedPeer`: a registered peer has sent exactly this request, to this pool, once. */
export interface PeerEnv {
  Bindings: AppEnv["Bindings"];
  Variables: FederatedEnv["Variables"] & {
    peer: { atomId: string; trust: TrustLevel; signatureVersion: 1 | 2 };
    /** The signed bytes, not parsed yet. */
    body: Uint8Array;
  };
}

/** Counts the refusals of federated routes. */
export const countRefusedRequests = createMiddleware<FederatedEnv>(async (c, next) => {
  await next();
  const code = c.get("refusal");
  // Skip this code: `unauthenticated` counts it by its reason.
  if (code !== undefined && code !== "federation/unauthenticated") countRefusal(code);
});

/** What every federated route says of itself. */
export interface RouteRule {
  /**
   * Whether a request can change an economic table, directly or not. The route is then closed unless the operator has set
   * `accept_settlement` (docs/spec/federation.md#the-wallet-rule).
   */
  touchesEconomy: boolean;
}

/**
 * Lets a request pass only while federation is on. For routes without signatures; a test checks that every federated
 * route refuses while federation is off.
 */
export function federated(rule: RouteRule): MiddlewareHandler<FederatedEnv> {
  return createMiddleware<FederatedEnv>(async (c, next) => {
    const refusal = (await refuseWhileOff(c)) ?? refuseEconomy(c, rule);
    if (refusal !== null) return refusal;
    await next();
  });
}

/** The refusal of a route that touches the economy while the operator has not opened it; null if it may go on. */
function refuseEconomy(c: Context, { touchesEconomy }: RouteRule): Response | null {
  const policy: FederationPolicy = c.get("policy");
  return touchesEconomy && !policy.accept_settlement ? fail(c, "federation/action-disabled") : null;
}

/** The refusal while federation is off; null while it is on. Then the policy is in the context. */
async function refuseWhileOff(c: Context): Promise<Response | null> {
  const checked = await checkFederation(c.env);
  if (!checked.open) return fail(c, checked.code);
  c.set("policy", checked.policy);
  return null;
}

/** Adds a `Date` header, so that a peer can notice that its clock is wrong. */
export const dated = createMiddleware(async (c, next) => {
  await next();
  c.header("date", new Date().toUTCString());
});

/**
 * The setting of `legacy_signatures` that a route needs to accept version 1; `never`: it accepts version 2 only
 * (docs/spec/federation.md#versions).
 */
export type Legacy = "reads" | "all" | "never";

const ACCEPTED_BY: Record<FederationPolicy["legacy_signatures"], readonly Legacy[]> = {
  off: [],
  reads: ["reads"],
  all: ["reads", "all"],
};

export interface SignedRule extends RouteRule {
  legacy: Legacy;
  /** The rate that the request counts against. */
  rate: RateKind;
  /** The rate for a peer below trust 2; `rate` if absent. */
  rateBelow2?: RateKind;
  minTrust: TrustLevel;
  /** The use of the trust, where a one-sided bond is enough (docs/spec/federation.md#one-sided-bonds). */
  trustUse?: TrustUse;
  /** Whether the operator can close this route with `accept_reads`. */
  isRead?: boolean;
}

/**
 * Checks a signed request, in the order of docs/spec/federation.md#the-order-of-the-checks. `Bond.admit` makes the last
 * checks and uses up the nonce. A stranger wakes no object. Its request costs one verification, as the request of a
 * known peer does.
 */
export function signedPeer(rule: SignedRule): MiddlewareHandler<PeerEnv> {
  return createMiddleware<PeerEnv>(async (c, next) => {
    const read = await readSigned(c, rule);
    if (read instanceof Response) return read;
    const { headers, body } = read;
    const key = await findPeerKey(c.env.DB, headers.origin);
    const verified = await verifyRequest(read, { method: c.req.method, target: read.target, body }, key);
    if (!verified.verified) return unauthenticated(c, verified.reason);
    const { version, nonce, timestampSeconds } = headers;
    const request = {
      version,
      nonce,
      timestampSeconds,
      kind: rule.rate,
      kindBelow2: rule.rateBelow2,
      use: rule.trustUse,
    };
    const admitted = await bondForPeer(c.env, headers.origin).admit(request, c.var.policy);
    if (!admitted.ok) {
      if (admitted.code === "federation/unauthenticated") return unauthenticated(c, admitted.reason);
      return fail(c, admitted.code, { retryAfterSeconds: admitted.retryAfterSeconds });
    }
    c.executionCtx.waitUntil(flushPeerRefusalsSoon(c.env));
    if (admitted.trust < rule.minTrust) return fail(c, "federation/untrusted");
    if (rule.isRead && !c.var.policy.accept_reads) return fail(c, "federation/reads-off");
    c.set("peer", { atomId: headers.origin, trust: admitted.trust, signatureVersion: version });
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

/** The bodies of unverified requests that this isolate is reading. */
const bodies = new UnauthenticatedBodyBudget();

/** Makes the checks that need no key, and reads the body. Invalid headers are refused before any other object is called. */
export async function readSigned(
  c: Context,
  { legacy, ...rule }: RouteRule & Pick<SignedRule, "legacy">,
): Promise<ReadSigned | Response> {
  const env: Env = c.env;
  const read = readSignedHeaders(c.req.raw.headers);
  if (!read.ok) return unauthenticated(c, read.reason);
  const refusal = checkSignedHeaders(read.headers, {
    self: (await poolKeys(env)).atomId,
    nowSeconds: Math.floor(Date.now() / 1_000),
    allowVersion1: legacy !== "never",
  });
  if (refusal !== null) return unauthenticated(c, refusal);
  const refused = (await refuseWhileOff(c)) ?? refuseEconomy(c, rule);
  if (refused !== null) return refused;
  const policy: FederationPolicy = c.get("policy");
  const isAccepted = read.headers.version === 2 || ACCEPTED_BY[policy.legacy_signatures].includes(legacy);
  if (!isAccepted) return unauthenticated(c, "version-1-refused");
  const body = await readUnauthenticated(c.req.raw, bodies);
  if (body === "unreadable") return unauthenticated(c, "unreadable-body");
  if (body === "dropped") return fail(c, "federation/rate-limited", { retryAfterSeconds: 1 });
  const target = targetOf(new URL(c.req.url));
  return { headers: read.headers, signature: read.signature, target, body };
}

/**
 * For a first contact, where the key is in the body: the key must have signed the request, and must hash to the atom id
 * of the signer. Returns the refusal; null if the signature is valid.
 */
export async function refuseUnlessSignedBy(
  c: Context,
  read: ReadSigned,
  claimed: { atomId: string; publicKeyHex: string },
): Promise<Response | null> {
  const key = claimed.atomId === read.headers.origin ? fromHex(claimed.publicKeyHex) : null;
  const request = { method: c.req.method, target: read.target, body: read.body };
  const verified = await verifyRequest(read, request, key);
  return verified.verified ? null : unauthenticated(c, verified.reason);
}

/** Parses a signed body with `shape`. Returns the value, or the response that refuses it (400). */
export function signedBody<Shape extends z.ZodType>(
  c: Context,
  bytes: Uint8Array,
  shape: Shape,
): z.output<Shape> | Response {
  const json = parseBody(bytes);
  if (!json.ok) return fail(c, json.code, { message: json.message });
  const body = shape.safeParse(json.value);
  if (body.success) return body.data;
  return fail(c, "http/invalid-body", { param: body.error.issues[0]?.path.join(".") ?? "" });
}

/**
 * The 401 answer. It is the same for every reason (docs/spec/federation.md#refusals); the operator sees the reason in a
 * counter. The `Date` header lets the sender notice a wrong clock.
 */
export function unauthenticated(c: Context, reason: RefusalReason): Response {
  countRefusal(reason);
  const response = fail(c, "federation/unauthenticated");
  response.headers.set("date", new Date().toUTCString());
  return response;
}
