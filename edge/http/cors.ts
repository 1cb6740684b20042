import { cors } from "hono/cors";
import { createMiddleware } from "hono/factory";
import type { AppEnv } from "./app-env.ts";

/** What a page may read of an answer, beside what the Fetch standard always shows. */
const EXPOSED = [
  "x-request-id",
  "retry-after",
  ...["limit", "remaining", "reset"].flatMap((word) => [`x-ratelimit-${word}-requests`, `x-ratelimit-${word}-tokens`]),
  ...["code", "deterministic", "job", "queue-ms", "worker"].map((name) => `x-ligand-${name}`),
];

const PREFLIGHT_SECONDS = 600;

/**
 * Lets pages of the origins that the operator named call the client API (docs/spec/inference.md#client-api): `CORS_ORIGINS`, comma-separated,
 * or `*`; unset, no page may. Keys travel in a header that the page sets itself, so credentials are never allowed.
 */
export const clientCors = createMiddleware<AppEnv>(async (c, next) => {
  const origins = (c.env.CORS_ORIGINS ?? "").split(",").flatMap((origin) => origin.trim() || []);
  if (origins.length === 0) return next();
  const allow = cors({
    origin: origins.includes("*") ? "*" : origins,
    allowMethods: ["GET", "POST"],
    exposeHeaders: EXPOSED,
    maxAge: PREFLIGHT_SECONDS,
  });
  return allow(c, next);
});
