/** Bodies of error responses, in the form of the API that was called. */
import { ERRORS, type ErrorCode } from "../../schema/wire/errors.ts";

export interface ErrorDetails {
  /** The offending parameter, as the client named it. */
  param?: string | undefined;
  /** Replaces the code's own message. Never contains a stack, a query or another tenant's data. */
  message?: string | undefined;
  /** Replaces the code's own remedy. */
  remedy?: string | undefined;
  retryAfterSeconds?: number | undefined;
}

/** The error body in OpenAI's form, which the pool's own routes use too. */
export function errorBody(code: ErrorCode, details: ErrorDetails = {}) {
  const { message, remedy, type, openAiCode, param } = ERRORS[code];
  const { retryAfterSeconds } = details;
  const words = [
    details.message ?? message,
    details.remedy ?? remedy,
    // Clients show this sentence to people, but they do not show headers.
    ...(retryAfterSeconds === undefined ? [] : [`Try again in ${retryAfterSeconds} s.`]),
  ];
  return { error: { message: words.join(" "), type, code: openAiCode, param: details.param ?? param } };
}

/**
 * The error body in the form of Anthropic's API. Its clients distinguish errors by type, and the type follows from the
 * status.
 */
export function messagesErrorBody(code: ErrorCode, details: ErrorDetails = {}, requestId = "") {
  const { message, code: errorCode, param } = errorBody(code, details).error;
  const more = { error_code: errorCode, ...(param !== null && { param }) };
  return {
    type: "error",
    error: { type: MESSAGES_TYPES[ERRORS[code].status] ?? "invalid_request_error", message, details: more },
    request_id: requestId,
  };
}

const MESSAGES_TYPES: Readonly<Partial<Record<number, string>>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  500: "api_error",
  502: "api_error",
  503: "overloaded_error",
  504: "timeout_error",
};

/** The JSON text of an error response, in the shape of the API at this path. */
export function errorText(path: string, code: ErrorCode, details: ErrorDetails, requestId: string | undefined): string {
  const isMessages = path === "/v1/messages" || path.startsWith("/v1/messages/");
  return JSON.stringify(isMessages ? messagesErrorBody(code, details, requestId) : errorBody(code, details));
}
