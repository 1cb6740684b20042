import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { BOOTSTRAP_ADMIN } from "../../schema/wire/admin-api.ts";
import type { Env } from "../env.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { BoundedMap } from "../limits/bounded-map.ts";
import { adminTokensForAuthentication } from "./admin-tokens-for.ts";
import type { AdminEnv, AppEnv, ClientEnv, ClientIdentity } from "./app-env.ts";
import { fail } from "./errors.ts";

/** The token of an `Authorization` header; null if there is none. RFC 6750: the scheme's name is case-insensitive. */
export function bearer(header: string | undefined): string | null {
  return /^bearer +([^\s]{1,512})$/i.exec(header ?? "")?.[1] ?? null;
}

/** The header in which clients of Anthropic's API send their key. */
function apiKey(header: string | undefined): string | null {
  return header !== undefined && /^[^\s]{1,512}$/.test(header) ? header : null;
}

/**
 * The thousand authentic keys that were added last. Forged keys are not added, so an attacker cannot fill the map. The
 * `Account` still decides for each request whether the key is good.
 */
const authenticKeys = new BoundedMap<string, ClientIdentity>(1_000);

async function clientIdentity(env: AppEnv["Bindings"], key: string): Promise<ClientIdentity | null> {
  const { atomId, tagger } = await poolKeys(env);
  const known = authenticKeys.get(`${atomId} ${key}`);
  if (known) return known;
  const authentic = await tagger.authenticate(key, "lk");
  if (!authentic.ok) return null;
  const identity = { keyId: authentic.id, secretSha256: authentic.secretSha256 };
  authenticKeys.set(`${atomId} ${key}`, identity);
  return identity;
}

/**
 * The client's key, from one of two headers. Agents often send a placeholder in the header that they do not use, so a
 * key in this pool's form takes precedence. Otherwise the usual header of the called API does.
 */
function clientKey(c: Context<ClientEnv>): string | null {
  const keys = [bearer(c.req.header("authorization")), apiKey(c.req.header("x-api-key"))];
  if (/^\/v1\/messages(?:\/|$)/.test(c.req.path)) keys.reverse();
  return keys.find((key) => key?.startsWith("lk_")) ?? keys.find((key) => key !== null) ?? null;
}

/** Refuses a forged key before any object is woken. */
export const requireClientKey = createMiddleware<ClientEnv>(async (c, next) => {
  const key = clientKey(c);
  if (key === null) return fail(c, "auth/missing-key");
  const identity = await clientIdentity(c.env, key);
  if (!identity) return fail(c, "auth/invalid-key");
  c.set("client", identity);
  await next();
});

export const requireAdmin = createMiddleware<AdminEnv>(async (c, next) => {
  const token = bearer(c.req.header("authorization"));
  const admin = token === null ? null : await adminOf(c.env, token);
  if (admin === null) return fail(c, "auth/admin-required");
  c.set("admin", admin.name);
  c.set("adminTokenId", admin.tokenId);
  await next();
});

/** For actions on the pool or on other admins, which named admins may not do. Use it behind `requireAdmin`. */
export const requireBootstrapAdmin = createMiddleware<AdminEnv>(async (c, next) => {
  if (!isBootstrapAdmin(c)) return fail(c, "admins/bootstrap-required");
  await next();
});

/** Whether the request has the bootstrap token. Call it behind `requireAdmin`. */
export function isBootstrapAdmin(c: Context<AdminEnv>): boolean {
  return c.var.adminTokenId === BOOTSTRAP_ADMIN;
}

/**
 * The admin who holds the token; null for a token that is unknown or revoked. A forged token is refused before any object
 * is woken. Ids of named tokens are hex, so none equals the id of the bootstrap token.
 */
async function adminOf(env: Env, token: string): Promise<{ name: string; tokenId: string } | null> {
  if (await sameSecret(token, env.ADMIN_TOKEN)) return { name: BOOTSTRAP_ADMIN, tokenId: BOOTSTRAP_ADMIN };
  const authentic = await (await poolKeys(env)).tagger.authenticate(token, "la");
  if (!authentic.ok) return null;
  const name = await adminTokensForAuthentication(env).nameOf(authentic.id, authentic.secretSha256);
  return name === null ? null : { name, tokenId: authentic.id };
}

/** For /metrics: accepts an admin token or the metrics token, which gives access to nothing else. */
export const requireMetricsReader = createMiddleware<AppEnv>(async (c, next) => {
  const token = bearer(c.req.header("authorization"));
  const allowed =
    token !== null && ((await sameSecret(token, c.env.METRICS_TOKEN)) || (await adminOf(c.env, token)) !== null);
  if (!allowed) return fail(c, "auth/metrics-token-required");
  await next();
});

/** Compares two secrets by digest and in constant time. An unset secret equals no token. */
async function sameSecret(given: string, expected: string | undefined): Promise<boolean> {
  if (!expected) return false;
  const [a, b] = await Promise.all([given, expected].map((text) => crypto.subtle.digest("SHA-256", utf8(text))));
  return a !== undefined && b !== undefined && crypto.subtle.timingSafeEqual(a, b);
}
