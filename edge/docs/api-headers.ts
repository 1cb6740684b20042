/** The headers of the client API, for its OpenAPI document (docs/spec/inference.md#client-api). */
export const header = (name: string) => ({ $ref: `#/components/headers/${name}` });

/** A description for each header. */
export const HEADERS = Object.freeze({
  "x-request-id": "The request id: the client's, or one that the pool generated. A request can be cancelled by it.",
  "x-ligand-job": "The id of the job, by which it can be cancelled.",
  "x-ligand-worker":
    "The worker that served the request; all workers, for a whole answer with several choices. A stream that starts while " +
    "the request is queued names the first worker in a comment instead.",
  "x-ligand-queue-ms": "Time in the queue, in milliseconds; the longest, for several choices.",
  "x-ligand-deterministic": "`false` where the worker's engine does not guarantee the same answer for the same seed.",
  "x-ratelimit-limit-requests": "Requests per minute of this key.",
  "x-ratelimit-remaining-requests": "Remaining requests.",
  "x-ratelimit-reset-requests": "Seconds until the limit is fully restored, with the unit: 1.000s.",
  "x-ratelimit-limit-tokens": "Tokens per minute of this key.",
  "x-ratelimit-remaining-tokens": "Remaining tokens.",
  "x-ratelimit-reset-tokens": "Seconds until the limit is fully restored, with the unit: 1.000s.",
  "retry-after": "Seconds to wait.",
} as const);

/** The headers of an answer that a worker gave. */
export const JOB_HEADERS = Object.fromEntries(
  Object.keys(HEADERS).flatMap((name) => (name === "retry-after" ? [] : [[name, header(name)]])),
);
