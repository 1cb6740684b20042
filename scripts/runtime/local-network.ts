import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { OperatorError } from "../../worker-agent/cli/shared/operator-error.ts";
import { type AdminClient, adminClient } from "./admin-client.ts";
import { type RunningAgent, startAgent } from "./agent-process.ts";
import { type Credentials, saveCredentials } from "./credentials.ts";
import { orFullDisk } from "./full-disk.ts";
import { type PoolOptions, startPool } from "./pool-runtime.ts";

const POLL_MS = 100;
/** Long enough to hash and load the largest model from a slow disk. */
const WORKER_WAIT_MS = 15 * 60_000;

export interface LocalNetwork {
  credentials: Credentials;
  /** What to tell those on other machines. */
  publicUrl: string;
  reloadCertificate(): void;
  admin: AdminClient;
  /** Rejects when the network cannot go on. */
  ended: Promise<void>;
  stop(): Promise<void>;
}

export interface LocalNetworkOptions extends PoolOptions {
  worker: boolean;
  /** What the worker runs, as `worker start --model`; the embedded model by default. */
  model?: string;
  /** How long the worker may take until it is connected. */
  workerWaitMs?: number;
  signal: AbortSignal;
}

/** A pool and, unless told otherwise, a worker beside it, both ready. An abort before that ends what was started. */
export async function startLocalNetwork(options: LocalNetworkOptions): Promise<LocalNetwork> {
  const { log, stateDir, signal } = options;
  log("Starting the pool …");
  const pool = await startPool(options);
  const admin = adminClient(pool.url, pool.secrets.admin_token);
  let agent: RunningAgent | undefined;
  try {
    await untilUp(pool.url, signal);
    // docs/spec/federation.md#switches. Once, and never again: lost state closes, and what an operator switched off stays off.
    if (pool.isNew && !signal.aborted) {
      await admin.changeFederation({ federation: "on" });
      pool.endFirstStart();
    }
    if (options.worker) {
      log(
        "Starting the worker (it loads the model and, on the first start, measures how many threads serve it best) …",
      );
      const { model, workerWaitMs = WORKER_WAIT_MS } = options;
      const workerDir = join(stateDir, "worker");
      agent = await startAgent({ poolUrl: pool.url, admin, stateDir: workerDir, log, ...(model && { model }) });
      await connected(admin, agent, workerWaitMs, signal);
    }
    signal.throwIfAborted();
    const credentials = await saveCredentials(stateDir, pool, pool.secrets.admin_token, admin);
    return {
      credentials,
      publicUrl: pool.publicUrl,
      reloadCertificate: () => pool.reloadCertificate(),
      admin,
      ended: agent?.ended ?? new Promise(() => undefined),
      /** The agent first: what it finishes while it drains still reaches its client. */
      async stop() {
        await agent?.stop();
        await pool.stop();
      },
    };
  } catch (error) {
    await agent?.stop();
    const told = orFullDisk(error, stateDir);
    await pool.abandon();
    throw told;
  }
}

/**
 * Resolves once this agent is connected, whoever else may be, or on an abort; rejects when it cannot run, or takes too
 * long.
 */
async function connected(
  admin: AdminClient,
  agent: RunningAgent,
  workerWaitMs: number,
  signal: AbortSignal,
): Promise<void> {
  const tooLate = AbortSignal.timeout(workerWaitMs);
  const settled = new AbortController();
  const isConnected = async () => {
    const { workers } = await admin.workers();
    return workers.some(({ token_id }) => token_id === agent.tokenId());
  };
  try {
    const waits = until(isConnected, AbortSignal.any([signal, tooLate, settled.signal]));
    await Promise.race([waits, agent.ended]);
  } finally {
    settled.abort();
  }
  if (!tooLate.aborted || signal.aborted) return;
  const waited = `${Math.ceil(workerWaitMs / 60_000)} min`;
  throw new OperatorError(
    `The worker has not connected within ${waited}. Try a smaller model, or start the pool alone: npm start -- --no-worker`,
  );
}

/** Resolves once a pool answers there, or on an abort. */
export async function untilUp(url: string, signal: AbortSignal): Promise<void> {
  await until(() => isUp(url), signal);
}

async function isUp(url: string): Promise<boolean> {
  const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5_000) });
  await response.arrayBuffer();
  return response.ok;
}

/** Resolves once the condition holds; one that fails does not hold yet. */
async function until(condition: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (await condition().catch(() => false)) return;
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
}
