/**
 * Requests of a peer's admin to this pool's admin, and the answers (docs/spec/federation.md#admin-requests). A pool of the
 * existing network sends the same members; unknown members are dropped, because its pools may add some.
 */
import * as z from "zod";
import { atomId } from "./events.ts";
import { base64Signature } from "./federation.ts";
import { LIMITS } from "./limits.ts";
import { shallowJson } from "./shallow-json.ts";
import { unicodeText } from "./worker-frames.ts";

/** Chosen by the pool that asks. It identifies the request together with that pool's atom id. */
export const requestId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);

/** A name of the registry of actions, or a name that this pool does not know. */
export const actionType = z.string().regex(/^[a-z][a-z0-9_]{0,63}$/);

/** Checked by the action itself. Bounded here by the body's size. */
export const actionParams = z.record(z.string().max(LIMITS.adminParamNameChars), shallowJson);

/** A claim: it is shown to the admin, and is never part of a decision. */
const claimedEmail = unicodeText.max(LIMITS.adminEmailChars).nullish().default(null);

const timeMs = z.int().nonnegative();

/** Lowercase hex SHA-256 of the admin's public key: made as a pool's id is. */
const adminKeyId = atomId;

/** A write request carries the signature of a registered admin key, made on the admin's own machine. */
export const adminSignature = z.strictObject({
  key_id: adminKeyId,
  /** Unix seconds. */
  expires_at: z.int().nonnegative(),
  signature: base64Signature,
});
export type AdminSignature = z.infer<typeof adminSignature>;

export const adminRequestBody = z.object({
  request_id: requestId,
  origin_pool_id: atomId,
  action_type: actionType,
  action_params: actionParams,
  from_admin_email: claimedEmail,
  admin_signature: adminSignature.optional(),
});

/** What an admin key signs, as JCS. */
export const signedAdminRequest = z.strictObject({
  v: z.literal(1),
  type: z.literal("admin_request"),
  origin: atomId,
  destination: atomId,
  request_id: requestId,
  action_type: actionType,
  action_params: actionParams,
  expires_at: z.int().nonnegative(),
  key_id: adminKeyId,
});
export type SignedAdminRequest = z.infer<typeof signedAdminRequest>;

/** What the command line gives an admin to sign on their own machine: all but the key and the expiry. */
export const unsignedAdminRequest = signedAdminRequest.omit({ expires_at: true, key_id: true });
export type UnsignedAdminRequest = z.infer<typeof unsignedAdminRequest>;

/** What the admin's machine gives back. */
export const signedRequestFile = z.strictObject({ request: unsignedAdminRequest, signature: adminSignature });

/**
 * `blocked`: a slashing event is open, and the request waits for an override or a rejection. `executed_no_callback`: the
 * action ran, and its origin could not be told.
 */
export const requestStatus = z.enum([
  "pending",
  "blocked",
  "approved",
  "rejected",
  "expired",
  "executed",
  "executed_no_callback",
  "failed",
]);
export type RequestStatus = z.infer<typeof requestStatus>;

// ---- Actions

/** Event types that `query_events` may return. Pools of the existing network know the last two; this pool writes neither. */
export const QUERYABLE_EVENTS = [
  "circuit_opened",
  "circuit_closed",
  "worker_joined",
  "worker_left",
  "peer_handshake",
  "overview",
  "peer_status",
] as const;

/**
 * The actions that a peer's admin can ask for. A pool may know actions that this one does not. `params` refuses what the
 * action cannot do, so that no request waits for an admin in vain.
 */
export const ACTIONS = {
  query_events: {
    kind: "read",
    params: z.strictObject({
      event_types: z.array(z.enum(QUERYABLE_EVENTS)).min(1).max(QUERYABLE_EVENTS.length).optional(),
      limit: z.int().min(1).max(LIMITS.queryEventsMax).default(LIMITS.queryEventsDefault),
    }),
  },
  /** Closes circuits and resets quality scores, of one worker or of all. Bans stay. */
  circuit_reset: { kind: "write", params: z.strictObject({ worker_id: atomId.optional() }) },
} as const satisfies Record<string, { kind: "read" | "write"; params: z.ZodType }>;
export type ActionName = keyof typeof ACTIONS;
export type ActionParams<Name extends ActionName> = z.output<(typeof ACTIONS)[Name]["params"]>;

// ---- Answers and callbacks between pools

/** Step 7. `expires_at`: unix seconds. A pool of the existing network also gets, and sends, `ok: true`. */
export const adminRequestAnswer = z.object({
  request_id: requestId,
  status: requestStatus,
  expires_at: z.number().nonnegative(),
});

/** A callback comes once from a pool of the existing network, so that words that are too long are cut. */
const words = z.string().transform((text) => text.slice(0, LIMITS.adminNoteChars).toWellFormed());

/** `origin_pool_id` is the pool that calls back. */
export const callbackBody = z.object({
  request_id: requestId,
  origin_pool_id: atomId,
  final_status: z.enum(["approved", "rejected", "expired", "executed", "failed"]),
  execution_result: shallowJson.optional().default(null),
  execution_error: words.nullish().default(null),
});
export type CallbackBody = z.infer<typeof callbackBody>;

export const callbackAnswer = z.object({ ok: z.literal(true), request_id: requestId });

/** How a pool of the existing network refuses: `{"error": "text"}`. */
export const foreignError = z.object({ error: z.string() });

// ---- The operator's requests: `/admin/api/requests`

/** `sending`: the peer has not answered yet. `refused`: the peer answered with an error. */
export const sentStatus = z.enum([
  "sending",
  "pending",
  "blocked",
  "approved",
  "rejected",
  "expired",
  "executed",
  "failed",
  "refused",
]);
export type SentStatus = z.infer<typeof sentStatus>;

export const requestDirection = z.enum(["received", "sent"]);
export type RequestDirection = z.infer<typeof requestDirection>;

const note = unicodeText.max(LIMITS.adminNoteChars);

export const requestView = z.strictObject({
  direction: requestDirection,
  peer: atomId,
  request_id: requestId,
  action: actionType,
  params: actionParams,
  status: z.enum([...requestStatus.options, ...sentStatus.options]),
  created_at_ms: timeMs,
  expires_at_ms: timeMs,
  decided_at_ms: timeMs.nullable(),
  /** The admin of this pool who decided about it, or sent it. */
  admin: z.string().nullable(),
  error: z.string().nullable(),
  /** A claim of the other pool. */
  email: z.string().nullable(),
  note: z.string().nullable(),
});
export type RequestView = z.infer<typeof requestView>;
/** Newest first. `next`: the `before` of the next page. */
export const requestList = z.strictObject({ requests: z.array(requestView), next: z.string().nullable() });

export const requestDetails = requestView.extend({
  /** JSON of the action that ran here, or of the peer. */
  result: z.unknown(),
  /** Of a received request, once decided: whether the peer has the answer. */
  callback: z.enum(["waiting", "delivered", "given-up"]).nullable(),
  /** Slashing events that are open now; they block a `blocked` request. */
  open_slashings: z.int().nonnegative(),
  /** False: the decision holds, and D1 does not have it yet. */
  recorded: z.literal(false).optional(),
});
export type RequestDetails = z.infer<typeof requestDetails>;

/** `override_reason`: approves a request although a slashing event is open. */
export const approveBody = z.strictObject({ override_reason: note.min(1).optional() });
export const rejectBody = z.strictObject({ note: note.optional() });

/** The query of the list. `before`: the `next` of the page before. */
export const requestQuery = z.strictObject({
  direction: requestDirection.optional(),
  status: requestView.shape.status.optional(),
  /** Only requests that wait for an admin. */
  waiting: z.literal("true").optional(),
  peer: atomId.optional(),
  before: z
    .string()
    .regex(/^\d{1,15}:[\x21-\x7e]{1,200}$/)
    .optional(),
  limit: z.coerce.number().int().min(1).max(LIMITS.adminRequestsPerPage).default(LIMITS.adminRequestsPerPage),
});

/** Without `request_id` the pool makes one. A write needs `admin_signature`, which covers the id. */
export const sendRequestBody = z.strictObject({
  peer: atomId,
  action_type: z.enum(Object.keys(ACTIONS) as [ActionName, ...ActionName[]]),
  action_params: actionParams.default({}),
  request_id: requestId.optional(),
  email: unicodeText.max(LIMITS.adminEmailChars).optional(),
  admin_signature: adminSignature.optional(),
});
