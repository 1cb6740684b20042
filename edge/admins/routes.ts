import { type Context, Hono } from "hono";
import { createMiddleware } from "hono/factory";
import type { AdminTokenRow } from "../../schema/db/admin-tokens.ts";
import { createAdminTokenBody } from "../../schema/wire/admin-api.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { isBootstrapAdmin, requireBootstrapAdmin } from "../http/authentication.ts";
import { adminBody } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { adminTokensForAdmins } from "./admin-tokens-for.ts";
import type { ActingAdmin } from "./admin-tokens-rpc.ts";
import { listAdminTokens } from "./store.ts";

/** Otherwise one stolen token could lock all other admins out, or act under their names. */
const ownOrBootstrap = createMiddleware<AdminEnv>(async (c, next) => {
  if (c.req.param("id") !== c.var.adminTokenId && !isBootstrapAdmin(c)) return fail(c, "admins/bootstrap-required");
  await next();
});

/**
 * `/admin/api/admins`: the named tokens of the people who administer this pool. Mounted behind an admin token. Only the
 * bootstrap token creates tokens: a token that a thief had created would outlive the revocation of the stolen token.
 */
export const adminRoutes = new Hono<AdminEnv>()
  .post("/", requireBootstrapAdmin, async (c) => {
    const body = await adminBody(c, createAdminTokenBody);
    if (body instanceof Response) return body;
    const { text, ...minted } = await (await poolKeys(c.env)).tagger.mint("la");
    const made = await adminTokensForAdmins(c.env).create(minted, body.name, acting(c));
    return made.ok ? c.json({ ...view(made.row), token: text }, 201) : fail(c, made.code);
  })

  .get("/", async (c) => c.json({ admins: (await listAdminTokens(c.env.DB)).map(view) }))

  .post("/:id/rotate", ownOrBootstrap, async (c) => {
    const { text, ...minted } = await (await poolKeys(c.env)).tagger.mint("la");
    const made = await adminTokensForAdmins(c.env).rotate(c.req.param("id"), minted, acting(c));
    return made.ok ? c.json({ ...view(made.row), token: text }, 201) : fail(c, made.code);
  })

  .delete("/:id", ownOrBootstrap, async (c) => {
    const id = c.req.param("id");
    const revoked = await adminTokensForAdmins(c.env).revoke(id, acting(c));
    if (!revoked) return fail(c, "admins/not-found");
    const { revokedAtMs, revokedNow, recorded } = revoked;
    return c.json({ id, revoked_at: new Date(revokedAtMs).toISOString(), revoked: revokedNow, recorded });
  });

function acting(c: Context<AdminEnv>): ActingAdmin {
  return { name: c.var.admin, tokenId: c.var.adminTokenId };
}

function view(row: AdminTokenRow) {
  return {
    id: row.id,
    name: row.name,
    created_by: row.createdBy,
    created_at: new Date(row.createdAtMs).toISOString(),
    revoked_by: row.revokedBy,
    revoked_at: row.revokedAtMs === null ? null : new Date(row.revokedAtMs).toISOString(),
  };
}
