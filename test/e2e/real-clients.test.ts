import { beforeAll } from "vitest";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { WorkerSocket } from "../fuzz/worker-socket.ts";
import { anthropicCases } from "./real-clients/anthropic.ts";
import { langchainCases } from "./real-clients/langchain.ts";
import { openaiCases } from "./real-clients/openai.ts";
import type { Served } from "./real-clients/shared.ts";
import { vercelCases } from "./real-clients/vercel.ts";
import { type PoolProcess, startPool, startWorker } from "./support.ts";

/** Unmodified clients, as their users install them, against one real pool with a real worker and a real model. */
let served: Served;
const GONE = "gone-model";

beforeAll(async () => {
  const pool = await startPool();
  await startWorker(pool, { slots: 8 });
  await serveOnce(pool, GONE);
  const { key: apiKey } = await pool.admin.createKey({ label: "clients", requests_per_minute: 10_000 });
  served = { pool, baseURL: `${pool.url}/v1`, apiKey, goneModel: GONE };
});

/** Afterwards the pool knows the model, and has no worker for it. */
async function serveOnce(pool: PoolProcess, model: string): Promise<void> {
  const { token } = await pool.admin.invite({});
  const signer = await signerFrom(generateSecretKey());
  const worker = await WorkerSocket.serving({ url: pool.url, token, signer, timeoutMs: 10_000 }, [
    { name: model, slots: 1, kinds: ["chat"] },
  ]);
  worker.vanish();
  await worker.closed;
}

openaiCases(() => served);
vercelCases(() => served);
langchainCases(() => served);
anthropicCases(() => served);
