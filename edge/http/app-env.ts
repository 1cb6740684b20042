import type { ErrorCode } from "../../schema/wire/errors.ts";
import type { Env } from "../env.ts";
import type { ClientIdentity } from "./authentication.ts";

/** What Hono's context carries on every route. */
export interface AppEnv {
  Bindings: Env;
  Variables: {
    requestId: string;
    /** Set by `fail`. */
    refusal?: ErrorCode;
    /** Set once a key has shown to be of this pool. */
    client?: ClientIdentity;
  };
}

/** On routes behind `requireAdmin`. */
export interface AdminEnv {
  Bindings: Env;
  /** Who acts: what the audit columns say, and what the log does, from which no name can be erased. */
  Variables: AppEnv["Variables"] & { admin: string; adminTokenId: string };
}

/** How a body is paid for: it was charged before it was checked, or `charged` is called when it has been charged. */
export type BodyPayment = { isPaid: true } | { isPaid: false; charged: () => void };

/** On routes behind `requireClientKey`. */
export interface ClientEnv {
  Bindings: Env;
  Variables: AppEnv["Variables"] & { client: ClientIdentity; bodyPayment?: BodyPayment };
}
