import { createMiddleware } from "hono/factory";
import type { AppEnv } from "./app-env.ts";
import { fail } from "./errors.ts";

/**
 * Refuses a `Host` that is not this pool's (docs/spec/pool.md#where-it-runs): a page that rebinds its own name to this address gets nothing.
 * Only the Host header counts; forwarding headers are not read anywhere.
 */
export const knownHost = createMiddleware<AppEnv>(async (c, next) => {
  const allowed = c.env.ALLOWED_HOSTS;
  if (allowed) {
    // A Host that makes no URL, or brings a user name, is nobody's.
    const url = URL.parse(c.req.url);
    if (!url || url.username || url.password || !allowed.split(",").includes(url.hostname)) {
      return fail(c, "http/unknown-host");
    }
  }
  await next();
});
