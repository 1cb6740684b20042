import { Hono } from "hono";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import type { WorkerTokenRow } from "../../schema/db/workers.ts";
import { createWorkerTokenBody } from "../../schema/wire/admin-api.ts";
import { WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import { chooseSubprotocol } from "../../schema/wire/worker-protocol.ts";
import type { AdminEnv, AppEnv } from "../http/app-env.ts";
import { bearer } from "../http/authentication.ts";
import { adminBody } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { poolKeys } from "../http/pool-keys.ts";
import { CONNECT_HEADERS, LANE_CONNECT_URL, MAIN_LANE } from "./lane-link.ts";
import { listTokens } from "./store.ts";

const DAY_MS = 86_400_000;

/** `/v1/workers/connect` (SPEC 6.2): a token that this pool did not issue is refused here, and wakes nothing. */
export const workerSocket = new Hono<AppEnv>().get("/connect", async (c) => {
  const token = bearer(c.req.header("authorization"));
  const { tagger, atomId } = await poolKeys(c.env);
  const authentic = token === null ? null : await tagger.authenticate(token, "lw");
  if (token === null || !authentic?.ok) {
    const refusal = fail(c, "workers/token-refused");
    refusal.headers.set(WORKER_PROTOCOL.poolHeader, atomId);
    return refusal;
  }
  const offered = (c.req.header("sec-websocket-protocol") ?? "").split(",").map((name) => name.trim());
  const upgrade = c.req.header("upgrade")?.toLowerCase() === "websocket";
  const spoken = chooseSubprotocol(offered);
  if (!upgrade || !spoken) return fail(c, "http/upgrade-required");
  return c.env.LANE.getByName(MAIN_LANE).fetch(LANE_CONNECT_URL, {
    headers: {
      upgrade: "websocket",
      "sec-websocket-protocol": spoken,
      [CONNECT_HEADERS.tokenId]: authentic.id,
      [CONNECT_HEADERS.secretSha256]: authentic.secretSha256,
      [CONNECT_HEADERS.tokenSha256]: await sha256Hex(utf8(token)),
    },
  });
});

/** `/admin/api/workers`: invites and who is connected (SPEC 6.1). Mounted behind the admin token. */
export const workerRoutes = new Hono<AdminEnv>()
  .post("/tokens", async (c) => {
    const body = await adminBody(c, createWorkerTokenBody);
    if (body instanceof Response) return body;
    const { tagger } = await poolKeys(c.env);
    const minted = await tagger.mint("lw");
    const nowMs = Date.now();
    const row: WorkerTokenRow = {
      id: minted.id,
      label: body.label,
      secretSha256: minted.secretSha256,
      lane: MAIN_LANE,
      addedBy: c.var.admin,
      approvedBy: c.var.admin,
      createdAtMs: nowMs,
      expiresAtMs: nowMs + Math.ceil(body.expires_in_days * DAY_MS),
      workerId: null,
      revokedBy: null,
      revokedAtMs: null,
    };
    await c.env.LANE.getByName(row.lane).invite(row);
    return c.json(
      { id: row.id, token: minted.text, label: row.label, expires_at: new Date(row.expiresAtMs).toISOString() },
      201,
    );
  })

  .get("/", async (c) => {
    const [tokens, connected] = await Promise.all([
      listTokens(c.env.DB),
      c.env.LANE.getByName(MAIN_LANE).connectedWorkers(),
    ]);
    const online = new Set(connected.map((worker) => worker.tokenId));
    return c.json({
      tokens: tokens.map((token) => ({
        id: token.id,
        label: token.label,
        worker_id: token.workerId,
        added_by: token.addedBy,
        created_at: new Date(token.createdAtMs).toISOString(),
        expires_at: new Date(token.expiresAtMs).toISOString(),
        revoked_by: token.revokedBy,
        revoked_at: token.revokedAtMs === null ? null : new Date(token.revokedAtMs).toISOString(),
        connected: online.has(token.id),
      })),
      workers: connected.map((worker) => ({
        worker_id: worker.workerId,
        token_id: worker.tokenId,
        agent_version: worker.agentVersion,
        connected_at: new Date(worker.connectedAtMs).toISOString(),
        models: worker.models,
      })),
    });
  })

  .delete("/tokens/:id", async (c) => {
    // The lane decides, also while the record cannot be reached: a stolen machine must be shut out at once.
    const revokedAtMs = await c.env.LANE.getByName(MAIN_LANE).revokeToken(c.req.param("id"), c.var.admin);
    if (!revokedAtMs) return fail(c, "workers/not-found");
    return c.json({ id: c.req.param("id"), revoked_at: new Date(revokedAtMs).toISOString() });
  });
