/** The error responses of the client API, for its OpenAPI document: which codes each kind of operation answers. */
import { ERRORS, type ErrorCode } from "../../schema/wire/errors.ts";
import { errorBody, messagesErrorBody } from "../http/error-body.ts";
import { header } from "./api-headers.ts";
import { ref } from "./api-schemas.ts";

/** Errors by kind of operation: every request with a key, a lookup, a request with a body, a job for a worker. */
const OF_A_KEY: readonly ErrorCode[] = ["auth/missing-key", "auth/invalid-key", "http/unknown-host", "http/internal"];
export const OF_A_LOOKUP: readonly ErrorCode[] = [...OF_A_KEY, "inference/rate-limited"];
const OF_A_BODY: readonly ErrorCode[] = [
  ...(["http/invalid-json", "http/invalid-body", "http/unknown-parameter", "http/unsupported-parameter"] as const),
  ...(["http/body-timeout", "http/body-too-large"] as const),
];
export const OF_A_JOB: readonly ErrorCode[] = [
  ...OF_A_KEY,
  ...OF_A_BODY,
  ...(["inference/context-length-exceeded", "inference/unsupported-kind", "inference/model-not-found"] as const),
  ...(["inference/rate-limited", "inference/token-rate-limited", "inference/too-many-streams"] as const),
  ...(["inference/no-worker", "inference/queue-full", "inference/queue-timeout", "inference/job-timeout"] as const),
  ...(["inference/worker-busy", "inference/worker-lost", "inference/engine-failed", "inference/cancelled"] as const),
  ...(["inference/answer-overlong", "inference/answer-room", "inference/answer-too-large"] as const),
  "inference/too-many-choices",
];

/** Errors that only occur where the answer is text and may be streamed. */
export const OF_TEXT: readonly ErrorCode[] = [
  "inference/too-many-streams",
  "inference/too-many-choices",
  "inference/answer-overlong",
];

export type ErrorSchema = "Error" | "MessagesError";

/** The error responses of an operation: one for each status, with an example of each of its codes. */
export function refusals(codes: readonly ErrorCode[], error: ErrorSchema = "Error"): Record<string, object> {
  const example = error === "Error" ? errorBody : (code: ErrorCode) => messagesErrorBody(code, {}, "req-1");
  const byStatus = Map.groupBy(codes, (code) => ERRORS[code].status);
  return Object.fromEntries(
    [...byStatus].map(([status, alike]) => [
      status,
      {
        description: alike.map((code) => `\`${ERRORS[code].openAiCode}\`: ${ERRORS[code].message}`).join("\n\n"),
        headers: {
          "x-request-id": header("x-request-id"),
          ...((status === 429 || status === 503) && { "retry-after": header("retry-after") }),
        },
        content: {
          "application/json": {
            schema: ref(error),
            examples: Object.fromEntries(alike.map((code) => [code.replace("/", "."), { value: example(code) }])),
          },
        },
      },
    ]),
  );
}
