import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { BOOTSTRAP_ADMIN } from "../../schema/wire/admin-api.ts";
import type { AdminTokensForAuthentication, Env } from "../env.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { BoundedMap } from "../limits/bounded-map.ts";
import { ADMIN_TOKENS } from "../object-names.ts";
import type { AdminEnv, AppEnv, ClientEnv } from "./app-env.ts";
import { fail } from "./errors.ts";

/** A key that this pool issued; whether it is still good, its `Account` says. */
export interface ClientIdentity {
  readonly keyId: string;
  readonly secretSha256: string;
}

/** RFC 6750: the scheme's name is case-insensitive. */
export function bearer(header: string | undefined): string | null {
  return /^bearer +([^\s]{1,512})$/i.exec(header ?? "")?.[1] ?? null;
}

/** Where clients of Anthropic's API have their key. */
function apiKey(header: string | undefined): string | null {
  return header !== undefined && /^[^\s]{1,512}$/.test(header) ? header : null;
}

/**
 * Keys that were found authentic, the most recent thousand: a forged one never gets here, so nobody can fill it, and
 * whether a key is still good is asked of its `Account` every time.
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
 * Agents often have a placeholder in the header that they do not use: a key of this pool's form goes before it. Else
 * each API's own header goes first.
 */
function clientKey(c: Context<ClientEnv>): string | null {
  const keys = [bearer(c.req.header("authorization")), apiKey(c.req.header("x-api-key"))];
  if (/^\/v1\/messages(?:\/|$)/.test(c.req.path)) keys.reverse();
  return keys.find((key) => key?.startsWith("lk_")) ?? keys.find((key) => key !== null) ?? null;
}

/** A forged key is refused here, and wakes nothing. */
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

/** Behind `requireAdmin`: what a named admin may not do to the pool or to the others. */
export const requireBootstrapAdmin = createMiddleware<AdminEnv>(async (c, next) => {
  if (!isBootstrapAdmin(c)) return fail(c, "admins/bootstrap-required");
  await next();
});

export function isBootstrapAdmin(c: Context<AdminEnv>): boolean {
  return c.var.adminTokenId === BOOTSTRAP_ADMIN;
}

/**
 * Whose token this is; null when it is none, or none any more. A forged one is refused here, and wakes nothing. Ids of
 * named tokens are hex, so that none is the bootstrap token's.
 */
async function adminOf(env: Env, token: string): Promise<{ name: string; tokenId: string } | null> {
  if (await sameSecret(token, env.ADMIN_TOKEN)) return { name: BOOTSTRAP_ADMIN, tokenId: BOOTSTRAP_ADMIN };
  const authentic = await (await poolKeys(env)).tagger.authenticate(token, "la");
  if (!authentic.ok) return null;
  const tokens: DurableObjectStub<AdminTokensForAuthentication> = env.ADMIN_TOKENS.getByName(ADMIN_TOKENS);
  const name = await tokens.nameOf(authentic.id, authentic.secretSha256);
  return name === null ? null : { name, tokenId: authentic.id };
}

/** /metrics: an admin's token, or one that can do nothing else. */
export const requireMetricsReader = createMiddleware<AppEnv>(async (c, next) => {
  const token = bearer(c.req.header("authorization"));
  const allowed =
    token !== null && ((await sameSecret(token, c.env.METRICS_TOKEN)) || (await adminOf(c.env, token)) !== null);
  if (!allowed) return fail(c, "auth/metrics-token-required");
  await next();
});

/** Compares by digest and in constant time; an unset secret equals nothing. */
async function sameSecret(given: string, expected: string | undefined): Promise<boolean> {
  if (!expected) return false;
  const [a, b] = await Promise.all([given, expected].map((text) => crypto.subtle.digest("SHA-256", utf8(text))));
  return a !== undefined && b !== undefined && crypto.subtle.timingSafeEqual(a, b);
}
