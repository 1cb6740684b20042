import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import type { JobKind } from "../../schema/wire/worker-frames.ts";
import { type AdminClient, adminClient } from "../../scripts/runtime/admin-client.ts";
import { type PoolOptions, startPool } from "../../scripts/runtime/pool-runtime.ts";
import { Http } from "../fuzz/http.ts";
import { heldByLanes, metricSum, residentMiB } from "../fuzz/run.ts";
import { WorkerSocket } from "../fuzz/worker-socket.ts";
import { temporaryFolder } from "../temporary-folder.ts";

/** A real pool in workerd, with hostile workers and clients that control every frame and byte. */
export interface HardPool {
  url: string;
  admin: AdminClient;
  /** A client key with high limits. */
  key: string;
  http: Http;
  /** Connects a worker with its own token and key. It gets no job before it sends `ready`. */
  worker(model: string, slots: number): Promise<WorkerSocket>;
  /** Opens a socket that sends nothing. */
  stranger(): Promise<WorkerSocket>;
  /** The sum of a metric over its labels. */
  metric(name: string): Promise<number>;
  /** What the pool's lane holds for jobs and answers, without zeros. */
  held(): Promise<Record<string, number>>;
  residentMiB(): number;
  /** The pool's log since it was ready. */
  logged: string[];
  stop(): Promise<void>;
}

const TIMEOUT_MS = 60_000;
const KINDS: JobKind[] = ["chat", "completion", "embedding"];

export async function startHardPool(options: Partial<PoolOptions> = {}): Promise<HardPool> {
  const stateDir = temporaryFolder();
  const logged: string[] = [];
  const pool = await startPool({ ...options, stateDir, port: 0, log: (line) => logged.push(line) });
  logged.length = 0;
  const admin = adminClient(pool.url, pool.secrets.admin_token);
  const { key } = await admin.createKey({ requests_per_minute: 1_000_000, streams: 10_000 });
  const http = new Http(pool.url, 2_000, TIMEOUT_MS);
  const workers: WorkerSocket[] = [];
  const heartbeat = setInterval(() => {
    for (const { socket } of workers) if (socket.readyState === socket.OPEN) socket.send("ping");
  }, 10_000);
  const socketOptions = async () => ({
    url: pool.url,
    token: (await admin.invite({})).token,
    signer: await signerFrom(generateSecretKey()),
    timeoutMs: TIMEOUT_MS,
  });
  return {
    url: pool.url,
    admin,
    key,
    http,
    logged,
    async worker(model, slots) {
      const worker = await WorkerSocket.serving(await socketOptions(), [{ name: model, slots, kinds: KINDS }]);
      workers.push(worker);
      return worker;
    },
    stranger: async () => WorkerSocket.open(await socketOptions()),
    async metric(name) {
      return metricSum((await http.ask("GET", "/metrics", pool.secrets.metrics_token)).body, name);
    },
    held: () => heldByLanes(admin),
    residentMiB: () => residentMiB(stateDir),
    async stop() {
      clearInterval(heartbeat);
      for (const worker of workers) worker.vanish();
      http.close();
      await pool.stop();
    },
  };
}

/** Answers every job immediately with its question, and requests the next one. */
export function serveAtOnce(worker: WorkerSocket, model: string, slots: number): void {
  worker.onJob = (job) => {
    worker.answer(job, "messages" in job.request ? (job.request.messages[0]?.content ?? "") : "");
    worker.ready(model, slots);
  };
  worker.ready(model, slots);
}

export function chatBody(model: string, content: string, extra: object = {}): Buffer {
  return Buffer.from(JSON.stringify({ model, messages: [{ role: "user", content }], ...extra }));
}

export const askChat = (pool: HardPool, model: string, content: string, extra: object = {}, onHead?: () => void) =>
  pool.http.ask("POST", "/v1/chat/completions", pool.key, chatBody(model, content, extra), onHead);

/** A raw client connection that reads nothing unless asked. */
export async function rawClient(pool: HardPool, text: string | Buffer): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port: Number(new URL(pool.url).port) });
  socket.on("error", () => {});
  socket.pause();
  await once(socket, "connect");
  socket.write(text);
  return socket;
}

export const rawChat = (pool: HardPool, body: Buffer, key = pool.key) =>
  rawPost(pool, "/v1/chat/completions", body, key);

export function rawPost(pool: HardPool, path: string, body: Buffer, key = pool.key): Buffer {
  const { host } = new URL(pool.url);
  const head = [
    `POST ${path} HTTP/1.1`,
    `host: ${host}`,
    `authorization: Bearer ${key}`,
    "content-type: application/json",
    `content-length: ${body.byteLength}`,
  ];
  return Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), body]);
}

/** Polls until the condition is true. The test's timeout is the limit. */
export async function until(probe: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await probe())) await sleep(20);
}

/** Waits until no job of this model runs or waits, and every record is written. */
export async function quiet(pool: HardPool, model: string): Promise<void> {
  const of = `{model_name="${model}"}`;
  const names = [`ligand_num_requests_running${of}`, `ligand_num_requests_waiting${of}`, "ligand_outbox_rows"];
  await until(async () => (await Promise.all(names.map((name) => pool.metric(name)))).every((n) => n === 0));
}
