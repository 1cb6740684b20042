/** Requests and answers of the event endpoints, between the routes and the `Bond`. */
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import type { PeerAudience, PushAnswer } from "../../../schema/wire/events.ts";

export interface EndpointRefusal {
  readonly ok: false;
  readonly code: ErrorCode;
  readonly message?: string | undefined;
  readonly param?: string | undefined;
  readonly retryAfterSeconds?: number;
}

/** `json`: the page as it is sent. A string costs less to pass out of the object than the values do. */
export type Pulled = { readonly ok: true; readonly json: string } | EndpointRefusal;
export type Pushed = { readonly ok: true; readonly status: 200 | 400; readonly body: PushAnswer } | EndpointRefusal;

export interface PullRequest {
  readonly audience: PeerAudience;
  readonly since: number;
  readonly limit: number;
}
