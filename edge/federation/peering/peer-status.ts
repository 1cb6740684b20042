import type { Context } from "hono";
import { type PeerStatusAnswer, peerStatusBody, poolNameOf } from "../../../schema/wire/federation.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { POOL_VERSION } from "../../../schema/wire/version.ts";
import { fail } from "../../http/errors.ts";
import { within } from "../../limits/timeout.ts";
import { poolSettings } from "../../pool/pool-policy.ts";
import { laneForReaders } from "../../workers/lane-for.ts";
import { type PeerEnv, signedBody, unauthenticated } from "../signing/signed-peer.ts";

/**
 * When this isolate first answered a federated request, epoch ms. The clock of an isolate stands still while its modules
 * load, so a module cannot note when it was loaded.
 */
let firstAskedMs: number | null = null;

/** Call for each request under `/v1/federation`. */
export function noteUptime(nowMs: number): void {
  firstAskedMs ??= nowMs;
}

/**
 * Answers `POST /v1/federation/peer/status` (docs/spec/federation.md#endpoints). The console of a pool of the existing
 * network asks it (`peer-status` in `existing-network.json`), and shows a pool that does not answer 200 as unreachable.
 */
export async function answerPeerStatus(c: Context<PeerEnv>): Promise<Response> {
  const body = signedBody(c, c.var.body, peerStatusBody);
  if (body instanceof Response) return body;
  if (body.origin_pool_id !== c.var.peer.atomId) return unauthenticated(c, "wrong-key");
  const [{ name }, overview] = await Promise.all([
    poolSettings(c.env),
    within(LIMITS.d1TimeoutMs, laneForReaders(c.env, "any").overview()),
  ]);
  if (overview === null) return fail(c, "pool/not-ready");
  const answer: PeerStatusAnswer = {
    ok: true,
    name: poolNameOf(name),
    version: POOL_VERSION,
    uptime_sec: Math.max(0, Math.floor((Date.now() - (firstAskedMs ?? Date.now())) / 1_000)),
    workers: overview.workers,
    models: overview.models.map((model) => model.name),
  };
  return c.json(answer);
}
