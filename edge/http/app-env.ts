import type { ErrorCode } from "../../schema/wire/errors.ts";
import type { Env } from "../env.ts";

/** A key that this pool issued. Its `Account` knows whether the key is still good. */
export interface ClientIdentity {
  readonly keyId: string;
  readonly secretSha256: string;
}

/** The Hono context of every route. */
export interface AppEnv {
  Bindings: Env;
  Variables: {
    requestId: string;
    /** Set by `fail`. */
    refusal?: ErrorCode;
    /** Set when the key has proved authentic. */
    client?: ClientIdentity;
  };
}

/** The context of routes behind `requireAdmin`. */
export interface AdminEnv {
  Bindings: Env;
  /** The admin who acts: the name for the record, and the token's id for the log, because no name can be erased from it. */
  Variables: AppEnv["Variables"] & { admin: string; adminTokenId: string };
}

/** Whether the body was charged before it was checked. If not, the charge calls `charged` when it is done. */
export type BodyPayment = { isPaid: true } | { isPaid: false; charged: () => void };

/** The context of routes behind `requireClientKey`. */
export interface ClientEnv {
  Bindings: Env;
  Variables: AppEnv["Variables"] & { client: ClientIdentity; bodyPayment?: BodyPayment };
}
