import { Hono } from "hono";
import type { ClientKeyRow } from "../../schema/db/client-keys.ts";
import { createKeyBody } from "../../schema/wire/admin-api.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { adminBody } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { poolSettings } from "../pool/pool-policy.ts";
import { accountForAdmins } from "./account-for.ts";
import { listKeysWithUsage } from "./store.ts";

/** The ids that `KeyTagger` makes. */
const KEY_ID = /^[0-9a-f]{16}$/;

/** `/admin/api/keys`: client keys (docs/spec/accounts.md#client-keys). Mounted behind the admin token. */
export const keyRoutes = new Hono<AdminEnv>()
  .post("/", async (c) => {
    const body = await adminBody(c, createKeyBody);
    if (body instanceof Response) return body;
    const { tagger } = await poolKeys(c.env);
    const { defaults } = await poolSettings(c.env);
    const minted = await tagger.mint("lk");
    const row: ClientKeyRow = {
      id: minted.id,
      label: body.label,
      secretSha256: minted.secretSha256,
      requestsPerMinute: body.requests_per_minute ?? defaults.requestsPerMinute,
      tokensPerMinute: body.tokens_per_minute ?? defaults.tokensPerMinute,
      streams: body.streams ?? defaults.streams,
      createdBy: c.var.admin,
      createdAtMs: Date.now(),
      revokedBy: null,
      revokedAtMs: null,
    };
    await accountForAdmins(c.env, row.id).create(row);
    return c.json({ ...keyView(row), key: minted.text }, 201);
  })

  .get("/", async (c) => {
    const rows = await listKeysWithUsage(c.env.DB);
    return c.json({ keys: rows.map(({ key, usage }) => ({ ...keyView(key), ...usage })) });
  })

  .delete("/:id", async (c) => {
    // The key's own object decides: D1 may be away, or may not have the key yet. An id that no key has leaves an empty
    // object behind, but only an admin can cause that.
    const id = c.req.param("id");
    const revoked = KEY_ID.test(id) ? await accountForAdmins(c.env, id).revoke(c.var.admin) : null;
    if (!revoked) return fail(c, "keys/not-found");
    return c.json({ id, revoked_at: new Date(revoked.revokedAtMs).toISOString(), recorded: revoked.recorded });
  });

function keyView(row: ClientKeyRow) {
  return {
    id: row.id,
    label: row.label,
    requests_per_minute: row.requestsPerMinute,
    tokens_per_minute: row.tokensPerMinute,
    streams: row.streams,
    created_by: row.createdBy,
    created_at: new Date(row.createdAtMs).toISOString(),
    revoked_by: row.revokedBy,
    revoked_at: row.revokedAtMs === null ? null : new Date(row.revokedAtMs).toISOString(),
  };
}
