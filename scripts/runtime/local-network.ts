import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { START_WITH } from "../../worker-agent/cli/shared/called-as.ts";
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
  /** The pool's URL for other machines. */
  publicUrl: string;
  reloadCertificate(): void;
  admin: AdminClient;
  /** Rejects when the pool or its worker fails for good. */
  ended: Promise<void>;
  stop(): Promise<void>;
}

export interface LocalNetworkOptions extends PoolOptions {
  worker: boolean;
  /** The worker's model, as in `worker start --model`. The default is the embedded model. */
  model?: string;
  /** How long the worker may take to connect. */
  workerWaitMs?: number;
  signal: AbortSignal;
}

/** Starts a pool, and a worker unless `worker` is false. Resolves when both are ready. An abort stops what was started. */
export async function startLocalNetwork(options: LocalNetworkOptions): Promise<LocalNetwork> {
  const { log, stateDir, signal } = options;
  log("Starting the pool …");
  const pool = await startPool(options);
  const admin = adminClient(pool.url, pool.secrets.admin_token);
  let agent: RunningAgent | undefined;
  try {
    await untilUp(pool.url, signal);
    // Only at the first start: lost state means off, and an operator's `off` stays (docs/spec/federation.md#switches).
    if (pool.isNew && !signal.aborted) {
      await admin.changeFederation({ federation: "on" });
      pool.endFirstStart();
    }
    if (options.worker) {
      log("Starting the worker. It loads the model and, on the first start, measures the best number of threads …");
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
      /** Stops the worker first, so that the answers of its last jobs reach their clients. */
      async stop() {
        await agent?.stop();
        await pool.stop();
      },
    };
  } catch (error) {
    await agent?.stop();
    const explained = orFullDisk(error, stateDir);
    await pool.abandon();
    throw explained;
  }
}

/**
 * Resolves when this worker is connected, or on an abort. Rejects if the worker cannot run or takes too long.
 */
async function connected(
  admin: AdminClient,
  agent: RunningAgent,
  workerWaitMs: number,
  signal: AbortSignal,
): Promise<void> {
  const tooLate = AbortSignal.timeout(workerWaitMs);
  const done = new AbortController();
  const isConnected = async () => {
    const { workers } = await admin.workers();
    return workers.some(({ token_id }) => token_id === agent.tokenId());
  };
  try {
    const waits = until(isConnected, AbortSignal.any([signal, tooLate, done.signal]));
    await Promise.race([waits, agent.ended]);
  } finally {
    done.abort();
  }
  if (!tooLate.aborted || signal.aborted) return;
  const waited = `${Math.ceil(workerWaitMs / 60_000)} min`;
  throw new OperatorError(
    `The worker did not connect within ${waited}. Try a smaller model, or start only the pool: ${START_WITH} --no-worker`,
  );
}

/** Resolves when a pool answers at the URL, or on an abort. */
export async function untilUp(url: string, signal: AbortSignal): Promise<void> {
  await until(() => isUp(url), signal);
}

async function isUp(url: string): Promise<boolean> {
  const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5_000) });
  await response.arrayBuffer();
  return response.ok;
}

/** Resolves when the condition is true, or on an abort. A condition that throws counts as false. */
async function until(condition: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (await condition().catch(() => false)) return;
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
}
