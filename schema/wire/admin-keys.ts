/** Admin keys (docs/spec/federation.md#admin-keys): bodies and answers of `/admin/api/admin-keys`. */
import * as z from "zod";
import { atomId } from "./events.ts";
import { federationPolicy } from "./federation.ts";
import { LIMITS } from "./limits.ts";
import { unicodeText } from "./worker-frames.ts";

/** Lowercase hex of 32 bytes. */
const publicKey = z.string().regex(/^[0-9a-f]{64}$/);
const label = unicodeText.max(LIMITS.adminKeyLabelChars);

export const addAdminKeyBody = z.strictObject({
  public_key: publicKey,
  /** The pool whose admin has the key; absent for an admin of this pool. */
  peer: atomId.optional(),
  label: label.default(""),
});

/** Persisted contract: `PoolPolicy` keeps the keys in this shape. */
export const adminKey = z.object({
  /** Lowercase hex SHA-256 of the public key. */
  key_id: atomId,
  public_key: publicKey,
  /** Whose admin has the key; null for an admin of this pool. */
  peer: atomId.nullable(),
  label,
  /** The admin token's id. */
  added_by: z.string(),
  added_at_ms: z.int().nonnegative(),
});
export type AdminKey = z.infer<typeof adminKey>;

export const adminKeyList = z.object({ keys: z.array(adminKey) });

/** `is_new`: false, because the key was registered already. */
export const addedAdminKey = adminKey.extend({ is_new: z.boolean() });

/** `policy`: the switches afterwards. Without any key, `accept_writes` is off. */
export const removedAdminKey = z.object({ key: adminKey, turned_writes_off: z.boolean(), policy: federationPolicy });
