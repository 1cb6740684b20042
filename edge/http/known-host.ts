import { createMiddleware } from "hono/factory";
import type { AppEnv } from "./app-env.ts";
import { fail } from "./errors.ts";

/**
 * Refuses a request whose `Host` is not this pool's (docs/spec/pool.md#where-it-runs), against DNS rebinding: a web
 * page may point its own name at this address. Only the `Host` header counts; no forwarding header is read.
 */
export const knownHost = createMiddleware<AppEnv>(async (c, next) => {
  const allowed = c.env.ALLOWED_HOSTS;
  if (allowed) {
    // A Host that gives no valid URL, or contains a user name, is unknown.
    const url = URL.parse(c.req.url);
    if (!url || url.username || url.password || !allowed.split(",").includes(url.hostname)) {
      return fail(c, "http/unknown-host");
    }
  }
  await next();
});
