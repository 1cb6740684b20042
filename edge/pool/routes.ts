import { Hono } from "hono";
import { changePoolBody } from "../../schema/wire/admin-api.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { adminBody } from "../http/body.ts";
import { poolKeys } from "../http/pool-keys.ts";
import { EVENT_LOG } from "../http/pool-objects.ts";
import { changePoolSettings, poolSettings } from "./pool-policy.ts";
import type { PoolSettings } from "./pool-policy-object.ts";

/** `/admin/api/pool`: who this pool is, and what its operator calls it. Mounted behind the admin token. */
export const poolRoutes = new Hono<AdminEnv>()
  .get("/", async (c) => c.json(view((await poolKeys(c.env)).atomId, await poolSettings(c.env))))

  .patch("/", async (c) => {
    const body = await adminBody(c, changePoolBody);
    if (body instanceof Response) return body;
    const { defaults: given, name, description } = body;
    const current = await poolSettings(c.env);
    const settings = await changePoolSettings(c.env, {
      ...(name !== undefined && { name }),
      ...(description !== undefined && { description }),
      ...(given && {
        defaults: {
          requestsPerMinute: given.requests_per_minute ?? current.defaults.requestsPerMinute,
          tokensPerMinute: given.tokens_per_minute ?? current.defaults.tokensPerMinute,
          streams: given.streams ?? current.defaults.streams,
        },
      }),
    });
    // SPEC 4.1: our audit. It says which settings, not what they hold: a name or a description may be somebody's.
    const changed = Object.keys(body).sort();
    const payload = { by: c.var.adminTokenId, settings: changed, ...(given && { defaults: given }) };
    if (changed.length > 0) {
      const log = c.env.EVENT_LOG.getByName(EVENT_LOG);
      await log.append([{ type: "policy_changed", visibility: "private", payload }]);
    }
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
