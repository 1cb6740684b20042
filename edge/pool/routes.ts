import { Hono } from "hono";
import { changePoolBody } from "../../schema/wire/admin-api.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { adminBody } from "../http/body.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { changePoolSettings, poolSettings, publishPolicyChanges } from "./pool-policy.ts";
import type { PoolSettings } from "./pool-policy-rpc.ts";

/** `/admin/api/pool`: the pool's id and its settings. Mounted behind an admin token. */
export const poolRoutes = new Hono<AdminEnv>()
  .get("/", async (c) => c.json(view((await poolKeys(c.env)).atomId, await poolSettings(c.env))))

  .patch("/", async (c) => {
    const body = await adminBody(c, changePoolBody);
    if (body instanceof Response) return body;
    const { defaults: given, name, description } = body;
    const current = await poolSettings(c.env);
    const changed = (Object.keys(body) as (keyof typeof body)[]).sort();
    if (changed.length === 0) return c.json(view((await poolKeys(c.env)).atomId, current));
    // The log gets the names of the settings, not their values: a name or a description may be personal data.
    const event = { by: c.var.adminTokenId, settings: changed, ...(given && { defaults: given }) };
    const change = {
      ...(name !== undefined && { name }),
      ...(description !== undefined && { description }),
      ...(given && {
        defaults: {
          requestsPerMinute: given.requests_per_minute ?? current.defaults.requestsPerMinute,
          tokensPerMinute: given.tokens_per_minute ?? current.defaults.tokensPerMinute,
          streams: given.streams ?? current.defaults.streams,
        },
      }),
    };
    const settings = await changePoolSettings(c.env, change, event);
    await publishPolicyChanges(c.env);
    return c.json(view((await poolKeys(c.env)).atomId, settings));
  });

function view(atomId: string, settings: PoolSettings) {
  return {
    atom_id: atomId,
    name: settings.name,
    description: settings.description,
    defaults: {
      requests_per_minute: settings.defaults.requestsPerMinute,
      tokens_per_minute: settings.defaults.tokensPerMinute,
      streams: settings.defaults.streams,
    },
  };
}
