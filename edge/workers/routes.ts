import { type Context, Hono } from "hono";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import type { WorkerTokenRow } from "../../schema/db/workers.ts";
import { banWorkerBody, createWorkerTokenBody, resetCircuitsBody } from "../../schema/wire/admin-api.ts";
import { ERRORS, type ErrorCode } from "../../schema/wire/errors.ts";
import { atomId as WORKER_ID } from "../../schema/wire/events.ts";
import { LIMITS, WORKER_PROTOCOL } from "../../schema/wire/limits.ts";
import { chooseSubprotocol } from "../../schema/wire/worker-protocol.ts";
import type { AdminEnv, AppEnv } from "../http/app-env.ts";
import { bearer } from "../http/authentication.ts";
import { adminBody } from "../http/body.ts";
import { fail } from "../http/errors.ts";
import { poolKeys } from "../identity/pool-keys.ts";
import { RefusedKeys } from "../limits/refused-keys.ts";
import { erasable } from "../record/erasable-text.ts";
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
        banned: worker.isBanned,
      })),
    });
  })

  /** Circuits and qualities of workers that failed, and the bans (docs/spec/inference.md#circuits). */
  .get("/circuits", async (c) => {
    const lanes = allLanes(c.env, laneForAdmins);
    const [circuits, bans] = await Promise.all([
      Promise.all(lanes.map(({ lane }) => lane.circuits())),
      Promise.all(lanes.map(({ lane }) => lane.bans())),
    ]);
    return c.json({
      circuits: circuits.flat().map(({ workerId: worker_id, openedAtMs: opened_at_ms, ...circuit }) => ({
        worker_id,
        opened_at_ms,
        ...circuit,
      })),
      bans: bans.flat().map(({ workerId, bannedBy, bannedAtMs, note }) => ({
        worker_id: workerId,
        banned_by: bannedBy,
        banned_at_ms: bannedAtMs,
        note,
      })),
    });
  })

  .post("/circuits/reset", async (c) => {
    const body = await adminBody(c, resetCircuitsBody);
    if (body instanceof Response) return body;
    const worker = body.worker_id ?? null;
    const by = { by: c.var.adminTokenId };
    const resets = await Promise.all(allLanes(c.env, laneForAdmins).map(({ lane }) => lane.resetCircuits(worker, by)));
    const sum = (count: "circuits" | "scores") => resets.reduce((total, reset) => total + reset[count], 0);
    return c.json({ worker_id: worker, circuits: sum("circuits"), scores: sum("scores") });
  })

  .post("/:id/ban", async (c) => {
    const body = await adminBody(c, banWorkerBody);
    if (body instanceof Response) return body;
    const id = WORKER_ID.safeParse(c.req.param("id")).data;
    if (id === undefined) return fail(c, "workers/not-found");
    const note = await erasable(body.note);
    const banned = await Promise.all(
      allLanes(c.env, laneForAdmins).map(({ lane }) => lane.banWorker(id, note, acting(c))),
    );
    return banned.every(Boolean) ? c.json({ worker_id: id, banned: true }) : fail(c, "workers/too-many-bans");
  })

  .post("/:id/pardon", async (c) => {
    const id = WORKER_ID.safeParse(c.req.param("id")).data;
    if (id === undefined) return fail(c, "workers/not-found");
    const pardons = await Promise.all(
      allLanes(c.env, laneForAdmins).map(({ lane }) => lane.pardonWorker(id, acting(c))),
    );
    return c.json({ worker_id: id, pardoned: pardons.some(Boolean) });
  })

  .delete("/tokens/:id", async (c) => {
    // The lane decides, even while D1 is unavailable, because a stolen machine must lose access immediately.
    const id = c.req.param("id");
    const revoked = await laneForAdmins(c.env, { workerToken: id }).revokeToken(id, c.var.admin);
    if (!revoked) return fail(c, "workers/not-found");
    return c.json({ id, revoked_at: new Date(revoked.revokedAtMs).toISOString(), recorded: revoked.recorded });
  });

function acting(c: Context<AdminEnv>) {
  return { name: c.var.admin, tokenId: c.var.adminTokenId };
}
