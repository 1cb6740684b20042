/**
 * Every code that leaves the system, in one place (SPEC 14): HTTP status, the OpenAI-compatible
 * `type` and `code` where a client route answers it, what happened, and what to do next.
 */
interface ErrorEntry {
  readonly status: 400 | 401 | 403 | 404 | 405 | 408 | 409 | 413 | 415 | 421 | 426 | 429 | 499 | 500 | 502 | 503 | 504;
  readonly type: string;
  readonly openAiCode: string;
  readonly message: string;
  readonly remedy: string;
  /** The parameter that it is always about. */
  readonly param: string | null;
}

const entry = (
  status: ErrorEntry["status"],
  type: string,
  openAiCode: string,
  message: string,
  remedy: string,
  param: string | null = null,
): ErrorEntry => ({ status, type, openAiCode, message, remedy, param });

const REQUEST = "invalid_request_error";
const SERVER = "server_error";

export const ERRORS = Object.freeze({
  "http/invalid-json": entry(400, REQUEST, "invalid_json", "The body is not valid JSON.", "Send a JSON object."),
  "http/invalid-body": entry(
    400,
    REQUEST,
    "invalid_value",
    "The body does not have the expected shape.",
    "Correct the body and send it again.",
  ),
  "http/unsupported-parameter": entry(
    400,
    REQUEST,
    "unsupported_parameter",
    "This parameter is known and not supported here.",
    "Remove the named parameter.",
  ),
  "http/unknown-parameter": entry(
    400,
    REQUEST,
    "unknown_parameter",
    "This parameter is not known.",
    "Remove the named parameter, or check its spelling.",
  ),
  "http/body-too-large": entry(
    413,
    REQUEST,
    "request_too_large",
    "The body is larger than this route accepts.",
    "Send a smaller body.",
  ),
  "http/body-timeout": entry(
    408,
    REQUEST,
    "request_timeout",
    "The body did not arrive in time.",
    "Send the request again.",
  ),
  "http/not-found": entry(404, REQUEST, "not_found", "There is nothing at this address.", "Check the path."),
  "http/method-not-allowed": entry(
    405,
    REQUEST,
    "method_not_allowed",
    "This address does not take that method.",
    "Check the method.",
  ),
  "http/unknown-host": entry(
    421,
    REQUEST,
    "unknown_host",
    "This pool does not answer under that host name.",
    "Use the URL that the pool printed, or let its operator allow the name: --allow-host on one machine, ALLOWED_HOSTS on Cloudflare.",
  ),
  "http/upgrade-required": entry(
    426,
    REQUEST,
    "upgrade_required",
    "This address speaks WebSocket only.",
    "Connect with the subprotocol ligand.worker.v1.",
  ),
  "http/internal": entry(
    500,
    SERVER,
    "internal_error",
    "Something went wrong in the pool.",
    "Try again; tell the operator the request id if it stays.",
  ),

  "auth/missing-key": entry(
    401,
    REQUEST,
    "missing_api_key",
    "No API key was given.",
    "Send Authorization: Bearer with a client key of this pool.",
  ),
  "auth/invalid-key": entry(
    401,
    REQUEST,
    "invalid_api_key",
    "The API key is not valid here.",
    "Check the key, or ask the pool's operator for a new one.",
  ),
  "auth/admin-required": entry(
    401,
    REQUEST,
    "admin_required",
    "This needs the admin token.",
    "Send Authorization: Bearer with the admin token.",
  ),
  "auth/metrics-token-required": entry(
    401,
    REQUEST,
    "metrics_token_required",
    "This needs the pool's metrics token.",
    "Send Authorization: Bearer with metrics_token from state/secrets.json, or with what METRICS_TOKEN was set to.",
  ),

  "inference/rate-limited": entry(
    429,
    "requests",
    "rate_limit_exceeded",
    "Too many requests a minute for this key.",
    "Send fewer, or ask the pool's operator for a higher limit.",
  ),
  "inference/token-rate-limited": entry(
    429,
    "tokens",
    "rate_limit_exceeded",
    "Too many tokens a minute for this key.",
    "Send or ask for fewer, or ask the pool's operator for a higher limit.",
  ),
  "inference/too-many-streams": entry(
    429,
    "streams",
    "too_many_streams",
    "Too many streams at once for this key.",
    "Finish a stream first, or ask for a higher limit.",
  ),
  "inference/model-not-found": entry(
    404,
    REQUEST,
    "model_not_found",
    "No worker of this pool has offered that model.",
    "List the models, or use the model auto.",
    "model",
  ),
  "inference/job-not-found": entry(
    404,
    REQUEST,
    "job_not_found",
    "This key has no such job.",
    "Use the id from x-ligand-job, the one in the answer, or the request's x-request-id, with the key that asked.",
  ),
  "inference/unsupported-kind": entry(
    400,
    REQUEST,
    "unsupported_model",
    "That model does not do this kind of request.",
    "List the models: each says its kinds.",
    "model",
  ),
  "inference/no-worker": entry(
    503,
    SERVER,
    "no_worker",
    "Nobody serves that model now.",
    "Try again later; GET /v1/models lists what is served now.",
  ),
  "inference/queue-full": entry(
    503,
    SERVER,
    "queue_full",
    "The queue for that model is full.",
    "Try again in a few seconds.",
  ),
  "inference/queue-timeout": entry(503, SERVER, "queue_timeout", "No worker became free in time.", "Try again later."),
  "inference/job-timeout": entry(504, SERVER, "job_timeout", "The job ran past its deadline.", "Ask for fewer tokens."),
  "inference/worker-lost": entry(
    502,
    SERVER,
    "worker_lost",
    "The worker was lost while it worked on this.",
    "Try again.",
  ),
  "inference/worker-busy": entry(
    503,
    SERVER,
    "worker_busy",
    "The worker, or the server that computes for it, takes no more requests now.",
    "Try again later, or use another model.",
  ),
  "inference/engine-failed": entry(
    502,
    SERVER,
    "engine_error",
    "The worker's engine failed on this request.",
    "Try again; if it stays, another model may do.",
  ),
  "inference/context-length-exceeded": entry(
    400,
    REQUEST,
    "context_length_exceeded",
    "The prompt does not fit the model's context.",
    "Shorten the prompt or ask for fewer tokens.",
  ),
  "inference/slow-reader": entry(
    408,
    REQUEST,
    "slow_reader",
    "The answer was not read fast enough.",
    "Read the stream as it comes.",
  ),
  "inference/cancelled": entry(
    499,
    REQUEST,
    "cancelled",
    "The request was cancelled, as its client asked.",
    "Send it again if you still want its answer.",
  ),

  "workers/token-refused": entry(
    401,
    REQUEST,
    "token_refused",
    "The worker token is not valid here.",
    "Ask the pool's operator for a new invite.",
  ),
  "workers/token-expired": entry(
    403,
    REQUEST,
    "token_expired",
    "The worker token has expired.",
    "Ask the pool's operator for a new invite.",
  ),
  "workers/too-many": entry(
    503,
    SERVER,
    "too_many_workers",
    "This pool takes no more workers now.",
    "Try again later.",
  ),
  "workers/not-found": entry(
    404,
    REQUEST,
    "not_found",
    "There is no such worker token.",
    "Take the id from the list of worker tokens.",
  ),
  "workers/invalid-frame": entry(
    400,
    REQUEST,
    "invalid_frame",
    "A frame did not have the agreed shape.",
    "Update the agent.",
  ),

  "federation/unauthenticated": entry(
    401,
    REQUEST,
    "unauthenticated",
    "The request is not signed by a pool that is known here.",
    "Compare the Date header with your clock; register again if that is right.",
  ),
  "federation/disabled": entry(
    503,
    SERVER,
    "federation_disabled",
    "Federation is switched off at this pool.",
    "Try again later; the pool's operator switches it on.",
  ),
  "federation/untrusted": entry(
    403,
    REQUEST,
    "untrusted",
    "This needs more trust than this pool grants to yours.",
    "Ask the pool's operator.",
  ),
  "federation/rate-limited": entry(
    429,
    "requests",
    "rate_limit_exceeded",
    "Too many federated requests.",
    "Wait as Retry-After says.",
  ),
  "federation/reads-off": entry(
    403,
    REQUEST,
    "reads_off",
    "This pool does not answer reads of other pools now.",
    "Ask the pool's operator.",
  ),
  "federation/registration-refused": entry(
    403,
    REQUEST,
    "registration_refused",
    "This pool does not admit the one of that card.",
    "Its operator may have revoked it, or may not take a URL like the card's: ask there.",
  ),
  "federation/tier-refused": entry(
    409,
    REQUEST,
    "tier_refused",
    "Nobody can be added here: min_auth_tier asks for more than any pool can prove yet.",
    "Set min_auth_tier to device-bound.",
  ),
  "federation/challenge-refused": entry(
    409,
    REQUEST,
    "challenge_refused",
    "The challenge has expired, was used, or is not for this card; or its proof does not verify.",
    "Register from the beginning.",
  ),
  "federation/too-many-peers": entry(
    409,
    REQUEST,
    "too_many_peers",
    "This pool has as many peers as it may.",
    "Revoke or remove a peer, or raise max_peers.",
  ),
  "federation/peer-not-found": entry(
    404,
    REQUEST,
    "not_found",
    "There is no such peer.",
    "Take the atom id from the list of peers.",
  ),
  "federation/unreachable": entry(
    502,
    SERVER,
    "unreachable",
    "The other pool did not answer as agreed.",
    "Check its URL, and that federation is on there.",
  ),
  "federation/wrong-peer": entry(
    409,
    REQUEST,
    "wrong_peer",
    "Another pool than the expected one answers at that URL.",
    "Check the URL and the atom id with the peer's operator.",
  ),
  "federation/no-admin-key": entry(
    409,
    REQUEST,
    "no_admin_key",
    "Writes of other pools cannot be accepted while no admin key is registered.",
    "Leave accept_writes off: admin keys come with a later version of Ligand.",
  ),
  "federation/legacy-off": entry(
    409,
    REQUEST,
    "legacy_off",
    "The other pool speaks version 1 only, which this pool does not speak while legacy_signatures is off.",
    "Set legacy_signatures to reads, knowing that version 1 binds a request to no receiver.",
  ),
  "federation/private-address": entry(
    400,
    REQUEST,
    "private_address",
    "Peers are reached over https, and not at private addresses, unless the policy allows it.",
    "Use the peer's public https URL, or set allow_private_peers.",
  ),

  "keys/not-found": entry(
    404,
    REQUEST,
    "not_found",
    "There is no such client key.",
    "Take the id from the list of client keys.",
  ),
  "admins/not-found": entry(
    404,
    REQUEST,
    "not_found",
    "There is no such admin token, or it was revoked.",
    "Take the id from the list of admin tokens.",
  ),
  "admins/bootstrap-required": entry(
    403,
    REQUEST,
    "bootstrap_required",
    "Only the bootstrap admin may do this.",
    "Use the bootstrap token: what ADMIN_TOKEN was set to, or admin_token in a state folder's credentials.json.",
  ),
  "admins/name-taken": entry(
    409,
    REQUEST,
    "name_taken",
    "An admin token of that name is in use.",
    "Choose another name, or rotate or revoke that token.",
  ),
  "admins/too-many": entry(
    409,
    REQUEST,
    "too_many",
    "This pool has as many admin tokens as it may.",
    "Revoke one that nobody uses.",
  ),
  "events/malformed": entry(
    400,
    REQUEST,
    "malformed_event",
    "The event is not canonical, too large, or not of its key.",
    "Send the bytes as their origin signed them.",
  ),
  "events/content-hash-mismatch": entry(
    400,
    REQUEST,
    "content_hash_mismatch",
    "The content id is not the hash of the event's bytes.",
    "Send the bytes as their origin signed them.",
  ),
  "events/invalid-signature": entry(
    400,
    REQUEST,
    "invalid_signature",
    "The event's signature does not verify.",
    "Send the bytes as their origin signed them.",
  ),
  "events/unknown-origin": entry(
    403,
    REQUEST,
    "unknown_origin",
    "This pool takes no events of that origin.",
    "Nothing, unless this pool's operator trusts the origin.",
  ),
  "events/excessive-drift": entry(
    400,
    REQUEST,
    "excessive_drift",
    "The event's clock is too far ahead.",
    "Set the clock of its origin, and send it again later.",
  ),
  "events/forbidden": entry(
    403,
    REQUEST,
    "forbidden_event",
    "This event may not travel this way.",
    "Send only what the other pool may see.",
  ),
  "pool/not-empty": entry(
    409,
    REQUEST,
    "not_empty",
    "This pool already holds something else under an id of the import.",
    "Import into a fresh pool.",
  ),
  "pool/not-ready": entry(503, SERVER, "not_ready", "The pool is not ready yet.", "Try again in a moment."),
} as const satisfies Record<string, ErrorEntry>);

export type ErrorCode = keyof typeof ERRORS;

/** What a worker may say of a job it could not do; the subset of codes an agent may put on the wire. */
export const JOB_FAILURES = [
  "inference/context-length-exceeded",
  "inference/engine-failed",
  "inference/worker-busy",
  "inference/model-not-found",
  "http/unsupported-parameter",
] as const satisfies readonly ErrorCode[];
