import { cors } from "hono/cors";
import { createMiddleware } from "hono/factory";
import type { AppEnv } from "./app-env.ts";

/** Response headers that a page may read, besides those that the Fetch standard always allows. */
const EXPOSED = [
  "x-request-id",
  "retry-after",
  ...["limit", "remaining", "reset"].flatMap((word) => [`x-ratelimit-${word}-requests`, `x-ratelimit-${word}-tokens`]),
  ...["code", "deterministic", "job", "queue-ms", "worker"].map((name) => `x-ligand-${name}`),
];

const PREFLIGHT_SECONDS = 600;

/**
 * Lets web pages call the client API (docs/spec/inference.md#client-api). `CORS_ORIGINS` names their origins, comma-separated,
 * or `*` for all; without it no page may call. A page sends its key in a header, so credentials are never allowed.
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
