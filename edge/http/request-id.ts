import { createMiddleware } from "hono/factory";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { AppEnv } from "./app-env.ts";

const ACCEPTABLE = new RegExp(`^[A-Za-z0-9._:-]{1,${LIMITS.requestIdChars}}$`);

/** Whether it is harmless to repeat. */
export const isRequestId = (given: string): boolean => ACCEPTABLE.test(given);

/** `x-request-id`: the client's when it is harmless to repeat, ours otherwise; on every answer. */
export const requestId = createMiddleware<AppEnv>(async (c, next) => {
  const given = c.req.header("x-request-id");
  const id = given !== undefined && isRequestId(given) ? given : crypto.randomUUID();
  c.set("requestId", id);
  await next();
  if (c.res.status !== 101) c.header("x-request-id", id);
});
