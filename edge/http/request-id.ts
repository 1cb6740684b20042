import { createMiddleware } from "hono/factory";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { AppEnv } from "./app-env.ts";

const ACCEPTABLE = new RegExp(`^[A-Za-z0-9._:-]{1,${LIMITS.requestIdChars}}$`);

/** Whether a client's request id is safe to repeat in headers and logs. */
export const isRequestId = (given: string): boolean => ACCEPTABLE.test(given);

export const REQUEST_ID_HEADER = "x-request-id";

/** `x-request-id` on every answer: the client's own if it is safe to repeat, a new one otherwise. */
export const requestId = createMiddleware<AppEnv>(async (c, next) => {
  const given = c.req.header(REQUEST_ID_HEADER);
  const id = given !== undefined && isRequestId(given) ? given : crypto.randomUUID();
  c.set("requestId", id);
  await next();
  // A lane's answer has the header already, and Hono copies a response to set a header.
  if (c.res.status !== 101 && c.res.headers.get(REQUEST_ID_HEADER) !== id) c.header(REQUEST_ID_HEADER, id);
});
