/** The stub of the pool's only `AdminTokens`, narrowed to what authentication may do. */
import type { AdminTokensForAuthentication, Env } from "../env.ts";
import { ADMIN_TOKENS } from "../object-names.ts";

export function adminTokensForAuthentication(
  env: Pick<Env, "ADMIN_TOKENS">,
): DurableObjectStub<AdminTokensForAuthentication> {
  return env.ADMIN_TOKENS.getByName(ADMIN_TOKENS);
}
