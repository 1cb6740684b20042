/** Stubs of the pool's only `AdminTokens`, each narrowed to what its callers may do. */
import type { Env } from "../env.ts";
import { ADMIN_TOKENS } from "../object-names.ts";
import type { AdminTokensForAdmins, AdminTokensForReaders } from "./admin-tokens-rpc.ts";

type Namespace = Pick<Env, "ADMIN_TOKENS">;

export const adminTokensForAdmins = (env: Namespace): DurableObjectStub<AdminTokensForAdmins> =>
  env.ADMIN_TOKENS.getByName(ADMIN_TOKENS);

export const adminTokensForReaders = (env: Namespace): DurableObjectStub<AdminTokensForReaders> =>
  env.ADMIN_TOKENS.getByName(ADMIN_TOKENS);
