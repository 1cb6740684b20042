/**
 * Requests of a peer's admin to this pool's admin, and the answers (docs/spec/federation.md#admin-requests). A pool of the
 * existing network sends the same members; unknown members are dropped, because its pools may add some.
 */
import * as z from "zod";
import { atomId } from "./events.ts";
import { base64Signature } from "./federation.ts";
import { LIMITS } from "./limits.ts";
import { unicodeText } from "./worker-frames.ts";

/** Chosen by the pool that asks. It identifies the request together with that pool's atom id. */
export const requestId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/);

/** A name of the registry of actions, or a name that this pool does not know. */
const actionType = z.string().regex(/^[a-z][a-z0-9_]{0,63}$/);

/** Checked by the action itself. Bounded here by the body's size. */
const actionParams = z.record(z.string().max(LIMITS.adminParamNameChars), z.json());

/** A claim: it is shown to the admin, and is never part of a decision. */
const claimedEmail = unicodeText.max(LIMITS.adminEmailChars).nullish().default(null);

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
