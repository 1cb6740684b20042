import { Hono } from "hono";
import { fromHex } from "../../schema/crypto/bytes.ts";
import { isAcceptableKey } from "../../schema/crypto/ed25519.ts";
import { idOfPublicKey } from "../../schema/crypto/ids.ts";
import { addAdminKeyBody } from "../../schema/wire/admin-keys.ts";
import type { AdminEnv } from "../http/app-env.ts";
import { adminBody } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { forgetAdminKey } from "../pool/federation-check.ts";
import { addAdminKey, adminKeys, publishPolicyChanges } from "../pool/pool-policy.ts";
import { findPeer, wasEverPeer } from "./peering/store.ts";

/**
 * `/admin/api/admin-keys`: the keys that sign write requests (docs/spec/federation.md#admin-keys). An admin registers them
 * by hand; no message of a peer does. These routes work while federation is off.
 */
export const adminKeyRoutes = new Hono<AdminEnv>()
  .get("/", async (c) => c.json({ keys: await adminKeys(c.env) }))

  .post("/", async (c) => {
    const body = await adminBody(c, addAdminKeyBody);
    if (body instanceof Response) return body;
    const { public_key, peer = null, label } = body;
    const bytes = fromHex(public_key);
    if (bytes === null || !isAcceptableKey(bytes)) return fail(c, "admin-keys/weak-key");
    const keyId = await idOfPublicKey(bytes);
    // A pool's key must not stand in for its admin's: a pool's id and a key's id are made in the same way.
    const isOwn = keyId === (await poolKeys(c.env)).atomId;
    if (isOwn || (await wasEverPeer(c.env.DB, keyId))) return fail(c, "admin-keys/pool-key");
    if (peer !== null && !(await findPeer(c.env.DB, peer))) return fail(c, "federation/peer-not-found");
    const added = await addAdminKey(c.env, { key_id: keyId, public_key, peer, label }, c.var.adminTokenId);
    if (!added.ok) return fail(c, added.code);
    await publishPolicyChanges(c.env);
    return c.json({ ...added.key, is_new: added.isNew }, added.isNew ? 201 : 200);
  })

  .delete("/:id", async (c) => {
    const removed = await forgetAdminKey(c.env, c.req.param("id"), c.var.adminTokenId);
    if (!removed.ok) return fail(c, removed.code);
    await publishPolicyChanges(c.env);
    return c.json({ key: removed.key, turned_writes_off: removed.turnedWritesOff, policy: removed.policy });
  });
