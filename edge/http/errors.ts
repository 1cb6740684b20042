import type { Context } from "hono";
import { ERRORS, type ErrorCode } from "../../schema/wire/errors.ts";
import type { AppEnv } from "./app-env.ts";
import { type ErrorDetails, errorBody, errorText } from "./error-body.ts";

/**
 * An error response, for code that has no Hono context.
 * @param body the JSON text, if the called API has another form of error
 */
export function errorResponse(
  code: ErrorCode,
  details: ErrorDetails = {},
  body = JSON.stringify(errorBody(code, details)),
): Response {
  const { status } = ERRORS[code];
  const headers = new Headers({ "content-type": "application/json", "x-ligand-code": code });
  const retryAfter = details.retryAfterSeconds ?? (status === 503 ? 5 : undefined);
  if (retryAfter !== undefined) headers.set("retry-after", String(retryAfter));
  // RFC 9110 section 15.5.2: a 401 names the authentication scheme.
  if (status === 401) headers.set("www-authenticate", "Bearer");
  return new Response(body, { status, headers });
}

/** The error response of a route, in the form of the called API. Records `code` in the context as the refusal. */
export function fail(c: Context, code: ErrorCode, details: ErrorDetails = {}): Response {
  c.set("refusal", code);
  return errorResponse(code, details, errorText(c.req.path, code, details, c.get("requestId")));
}

/** RFC 9110 section 15.5.6: a 405 names the methods that the path supports. */
export function wrongMethod(c: Context, methods: string[]): Response {
  // Hono copies the headers of the response that this one replaces.
  c.res.headers.delete("x-ligand-code");
  const response = fail(c, "http/method-not-allowed");
  response.headers.set("allow", methods.join(", "));
  return response;
}

/**
 * The only `onError`. An exception that reaches it is a bug: it is logged with its stack, and the response does not
 * contain the stack.
 */
export function onError(error: Error, c: Context<AppEnv>): Response {
  console.error(
    JSON.stringify({
      event: "unexpected-error",
      requestId: c.get("requestId"),
      name: error.name,
      stack: error.stack?.slice(0, 2_000),
    }),
  );
  const code = "http/internal";
  const response = errorResponse(code, {}, errorText(c.req.path, code, {}, c.get("requestId")));
  response.headers.set("x-request-id", c.get("requestId") ?? "");
  return response;
}
