import { Hono } from "hono";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import type { WorkerTokenRow } from "../../schema/db/workers.ts";
import { createWorkerTokenBody } from "../../schema/wire/admin-api.ts";
import { ERRORS, type ErrorCode } from "../../schema/wire/errors.ts";
import { LIMITS, WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import { chooseSubprotocol } from "../../schema/wire/worker-protocol.ts";
import type { AdminEnv, AppEnv } from "../http/app-env.ts";
import { bearer } from "../http/authentication.ts";
import { adminBody } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { RefusedKeys } from "../limits/refused-keys.ts";
import { CONNECT_HEADERS, LANE_CONNECT_URL } from "./connect-request.ts";
import { allLanes, laneForAdmins, laneForWorkers, laneNameFor } from "./lane-for.ts";
import { listTokens } from "./store.ts";

const DAY_MS = 86_400_000;

/** Tokens that the lane has just refused. For a while their requests cost neither a check nor a call of the lane. */
const refusedTokens = new RefusedKeys<{ code: ErrorCode; retryAfterSeconds: number }>();

/**
 * `/v1/workers/connect`. A token that this pool did not issue is refused here and wakes no object. Every refusal is an
 * HTTP status, before there is a socket.
 */
export const workerSocket = new Hono<AppEnv>().get("/connect", async (c) => {
  const token = bearer(c.req.header("authorization"));
  const { tagger, atomId } = await poolKeys(c.env);
  const refuse = (code: ErrorCode, retryAfterSeconds?: number) => {
    const refusal = fail(c, code, { retryAfterSeconds });
    refusal.headers.set(WORKER_PROTOCOL.poolHeader, atomId);
    return refusal;
  };
  if (token === null) return refuse("workers/token-refused");
  const known = refusedTokens.find(token, Date.now())?.refusal;
  if (known) return refuse(known.code, isRateLimit(known.code) ? known.retryAfterSeconds : undefined);
  const authentic = await tagger.authenticate(token, "lw");
  if (!authentic.ok) return refuse("workers/token-refused");
  const offered = (c.req.header("sec-websocket-protocol") ?? "").split(",").map((name) => name.trim());
  const upgrade = c.req.header("upgrade")?.toLowerCase() === "websocket";
  const spoken = chooseSubprotocol(offered);
  if (!upgrade || !spoken) return fail(c, "http/upgrade-required");
  const response = await laneForWorkers(c.env, { workerToken: authentic.id }).fetch(LANE_CONNECT_URL, {
    headers: {
      upgrade: "websocket",
      "sec-websocket-protocol": spoken,
      [CONNECT_HEADERS.tokenId]: authentic.id,
      [CONNECT_HEADERS.secretSha256]: authentic.secretSha256,
      [CONNECT_HEADERS.tokenSha256]: await sha256Hex(utf8(token)),
    },
  });
  if (response.status === 101) return response;
  const code = (response.headers.get("x-ligand-code") ?? "http/internal") as ErrorCode;
  const retryAfter = Number(response.headers.get("retry-after")) || undefined;
  await response.body?.cancel();
  // Do not remember a full lane, which concerns all tokens and may be over soon. Do not replace a remembered refusal of
  // the token itself by a rate limit.
  if (isOfToken(code) && !(isRateLimit(code) && refusedTokens.find(token, Date.now()))) {
    const retryAfterSeconds = retryAfter ?? LIMITS.refusedTokenKeptSeconds;
    refusedTokens.remember(token, { code, retryAfterSeconds }, Date.now());
  }
  return refuse(code, retryAfter);
});

const isRateLimit = (code: ErrorCode) => ERRORS[code].status === 429;

const isOfToken = (code: ErrorCode) => isRateLimit(code) || code.startsWith("workers/token-");

/** `/admin/api/workers`: worker tokens and connected workers (docs/spec/workers.md#enrolment). Mounted behind the admin token. */
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
      lane: laneNameFor({ workerToken: minted.id }),
      addedBy: c.var.admin,
      approvedBy: c.var.admin,
      createdAtMs: nowMs,
      expiresAtMs: nowMs + Math.ceil(body.expires_in_days * DAY_MS),
      workerId: null,
      revokedBy: null,
      revokedAtMs: null,
    };
    await laneForAdmins(c.env, { workerToken: row.id }).invite(row);
    return c.json(
      { id: row.id, token: minted.text, label: row.label, expires_at: new Date(row.expiresAtMs).toISOString() },
      201,
    );
  })

  .get("/", async (c) => {
    const [tokens, ...lanes] = await Promise.all([
      listTokens(c.env.DB),
      ...allLanes(c.env, laneForAdmins).map(({ lane }) => lane.connectedWorkers()),
    ]);
    const connected = lanes.flat();
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
    // The lane decides, even while D1 is unavailable, because a stolen machine must lose access immediately.
    const id = c.req.param("id");
    const revoked = await laneForAdmins(c.env, { workerToken: id }).revokeToken(id, c.var.admin);
    if (!revoked) return fail(c, "workers/not-found");
    return c.json({ id, revoked_at: new Date(revoked.revokedAtMs).toISOString(), recorded: revoked.recorded });
  });
