import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type AdminClient, adminClient } from "../runtime/admin-client.ts";
import { startPool } from "../runtime/pool-runtime.ts";

/** A pool for one measurement, with its workers and clients. `stop` ends everything. */
export interface Rig {
  url: string;
  admin: AdminClient;
  adminToken: string;
  atomId: string;
  /** A client key with high limits. */
  key: string;
  stateDir: string;
  /** Starts workers with the instant engine: real sessions in one process. */
  addInstantWorkers(workers: number, slots: number): Promise<void>;
  /** Starts the real agent with the embedded model. */
  addEmbeddedWorker(slots: number): Promise<void>;
  stop(): Promise<void>;
}

/** @param main another entry file of the pool's Worker */
export async function startRig({ main }: { main?: string } = {}): Promise<Rig> {
  const stateDir = mkdtempSync(join(tmpdir(), "ligand-bench-"));
  const pool = await startPool({ stateDir, port: 0, log: () => {}, ...(main && { main }) });
  const admin = adminClient(pool.url, pool.secrets.admin_token);
  const { key } = await admin.createKey({ label: "bench", requests_per_minute: 1_000_000, streams: 10_000 });
  const children: ChildProcess[] = [];
  return {
    url: pool.url,
    admin,
    adminToken: pool.secrets.admin_token,
    atomId: (await admin.pool()).atom_id,
    key,
    stateDir,
    async addInstantWorkers(workers, slots) {
      const tokens: string[] = [];
      for (let i = 0; i < workers; i++) tokens.push((await admin.invite({ label: "bench" })).token);
      await startChild("instant-agent.ts", {
        LIGAND_POOL: pool.url,
        BENCH_TOKENS: tokens.join(","),
        BENCH_SLOTS: String(slots),
      }).then((child) => children.push(child));
    },
    async addEmbeddedWorker(slots) {
      const { token } = await admin.invite({ label: "bench" });
      const tokenFile = join(stateDir, "bench.token");
      writeFileSync(tokenFile, token, { mode: 0o600 });
      const ligand = fileURLToPath(new URL("../ligand.ts", import.meta.url));
      const flags = [
        "--pool",
        pool.url,
        "--token-file",
        tokenFile,
        "--state",
        join(stateDir, "agent"),
        "--slots",
        String(slots),
      ];
      const child = spawn(process.execPath, [ligand, "worker", "start", ...flags], { stdio: "ignore" });
      children.push(child);
      while ((await admin.workers()).workers.length === 0) {
        if (child.exitCode !== null) throw new Error("the worker has ended");
        await sleep(50);
      }
    },
    async stop() {
      await Promise.all(children.map(end));
      await pool.stop();
      rmSync(stateDir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Starts a program of this folder. Resolves when it reports that it is ready. */
export async function startChild(file: string, env: Record<string, string>): Promise<ChildProcess> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), { env: { PATH: process.env.PATH, ...env } });
  const [message] = await Promise.race([once(child, "message"), once(child, "exit")]);
  if (typeof message !== "string") throw new Error(`${file} ended with ${message}`);
  return child;
}

export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}
