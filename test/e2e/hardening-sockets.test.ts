import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CLOSE, LIMITS } from "../../schema/wire/limits.ts";
import type { JobFrame } from "../../schema/wire/worker-frames.ts";
import { end, startChild } from "../../scripts/bench/rig.ts";
import type { Closed, WorkerSocket } from "../fuzz/worker-socket.ts";
import {
  askChat,
  chatBody,
  type HardPool,
  quiet,
  rawChat,
  rawClient,
  serveAtOnce,
  startHardPool,
  until,
} from "./hardening-support.ts";

/** Attacks that involve the kernel: real connections that are slow, half open, silent, or gone. */
let pool: HardPool;
let silent: { child: ChildProcess; asking: ReturnType<typeof askChat>; heir: WorkerSocket; heldMs: Promise<number> };
let strangers: { closed: Promise<Closed>; heldMs: Promise<number> }[];

beforeAll(async () => {
  pool = await startHardPool();
  serveAtOnce(await pool.worker("bystander", 64), "bystander", 64);
  // What takes half a minute runs beside the other tests.
  silent = await startSilentWorker();
  strangers = await crowd(200, async () => {
    // Taken before the connection: on a busy machine the measured time is longer, never shorter.
    const sinceMs = performance.now();
    const { closed } = await pool.stranger();
    return { closed, heldMs: closed.then(() => performance.now() - sinceMs) };
  });
});
afterAll(async () => {
  await end(silent.child);
  await pool.stop();
});

/** Other clients get correct answers. */
async function othersAreServed(): Promise<void> {
  const answer = await askChat(pool, "bystander", "still there?");
  expect(answer.status).toBe(200);
  expect(JSON.parse(answer.body).choices[0].message.content).toBe("still there?");
}

describe("a client that reads slowly", () => {
  it("and then not at all while its worker floods it: the job is cancelled, memory is bounded, others are served", async () => {
    const worker = await pool.worker("flood", 1);
    const jobs = jobsOf(worker);
    worker.ready("flood", 1);
    const before = pool.residentMiB();
    const client = await rawClient(pool, rawChat(pool, chatBody("flood", "hi", { stream: true })));
    const job = await jobs.next();
    let cancelled = false;
    worker.onCancel = () => {
      cancelled = true;
    };
    const text = "x".repeat(LIMITS.deltaTextChars);
    let sentMiB = 0;
    for (let seq = 0; !cancelled; seq++) {
      await sent(worker, { type: "delta", jobId: job.jobId, lease: job.lease, seq, text, tokens: 1 });
      sentMiB += text.length / 2 ** 20;
      expect(sentMiB, "MiB until the worker was told to stop").toBeLessThan(256);
    }
    // The worker continues to send after the cancellation.
    for (let seq = 0; seq < 200; seq++) {
      await sent(worker, { type: "delta", jobId: job.jobId, lease: job.lease, seq, text, tokens: 1 });
    }
    await othersAreServed();
    expect(await worker.sync()).toBeNull();
    expect(pool.residentMiB() - before, "MiB more in workerd").toBeLessThan(96);
    await quiet(pool, "flood");
    client.destroy();
    await worker.close();
  });

  it("a byte at a time gets its whole answer, and others are served", async () => {
    const worker = await pool.worker("patient", 1);
    const text = "All that was said. ".repeat(500);
    worker.onJob = (job) => worker.answer(job, text);
    worker.ready("patient", 1);
    const client = await rawClient(pool, rawChat(pool, chatBody("patient", "hi", { stream: true })));
    let read = "";
    while (!read.includes("[DONE]")) {
      const byte: Buffer | null = client.read(1);
      if (byte) read += byte.toString("latin1");
      else await once(client, "readable");
      if (read.length % 2_000 === 0) await othersAreServed();
    }
    expect(read).toContain(text);
    client.destroy();
    await worker.close();
  });
});

describe("a client that sends half a request", () => {
  it("a hundred times, cut in the head or in the body, delays no other client and leaves nothing behind", async () => {
    const whole = rawChat(pool, chatBody("bystander", "half"));
    const halves = await crowd(200, (i) => rawClient(pool, whole.subarray(0, i % 2 === 0 ? 60 : whole.length - 5)));
    await othersAreServed();
    expect(await pool.metric('ligand_num_requests_running{model_name="bystander"}')).toBe(0);
    for (const half of halves) half.destroy();
    await othersAreServed();
    await quiet(pool, "bystander");
  });
});

describe("clients that disconnect in the middle of their streams", () => {
  it("by the hundred: every job is cancelled at its worker, and every slot is free again", async () => {
    const CLIENTS = 300;
    const { key } = await pool.admin.createKey({ requests_per_minute: 1_000_000, streams: CLIENTS });
    const worker = await pool.worker("vanish", 1_000);
    const cancelled = new Set<string>();
    worker.onJob = ({ jobId, lease }) => worker.send({ type: "delta", jobId, lease, seq: 0, text: "x", tokens: 1 });
    worker.onCancel = (jobId) => cancelled.add(jobId);
    worker.ready("vanish", CLIENTS);
    const body = chatBody("vanish", "hi", { stream: true });
    const clients = await crowd(CLIENTS, () => rawClient(pool, rawChat(pool, body, key)));
    await Promise.all(clients.map(firstText));
    const full = await pool.http.ask("POST", "/v1/chat/completions", key, body);
    expect([full.status, full.headers["x-ligand-code"]]).toEqual([429, "inference/too-many-streams"]);
    for (const client of clients) client.resetAndDestroy();
    await until(() => cancelled.size === CLIENTS);
    await quiet(pool, "vanish");
    worker.onJob = (job) => worker.answer(job, "free");
    worker.ready("vanish", CLIENTS);
    const again = await crowd(CLIENTS, () => pool.http.ask("POST", "/v1/chat/completions", key, body));
    expect(new Set(again.map(({ status }) => status))).toEqual(new Set([200]));
    await worker.close();
  });
});

describe("200 workers", () => {
  it("that connect, take jobs and disconnect: none remains, other workers do their jobs, and the pool serves as before", async () => {
    const workers = await crowd(200, async () => {
      const worker = await pool.worker("crowd", 1);
      worker.ready("crowd", 1);
      return worker;
    });
    const jobs = workers.map((worker) => jobsOf(worker));
    const asked = Array.from({ length: 200 }, (_, i) => askChat(pool, "crowd", `question ${i}`));
    await Promise.all(jobs.map((each) => each.next()));
    expect(await pool.metric("ligand_workers")).toBeGreaterThanOrEqual(201);
    for (const worker of workers) worker.vanish();
    await until(async () => {
      const connected = (await pool.admin.workers()).workers;
      return !connected.some(({ models }) => models.some(({ name }) => name === "crowd"));
    });
    expect((await askChat(pool, "crowd", "anyone?")).headers["x-ligand-code"]).toBe("inference/no-worker");
    await othersAreServed();

    const heir = await pool.worker("crowd", 10);
    serveAtOnce(heir, "crowd", 10);
    for (const [i, answer] of (await Promise.all(asked)).entries()) {
      expect(JSON.parse(answer.body).choices?.[0].message.content).toBe(`question ${i}`);
    }
    await quiet(pool, "crowd");
    await heir.close();
  });
});

describe("200 sockets", () => {
  it("that never send hello are closed after ten seconds", async () => {
    await othersAreServed();
    const heldMs = await Promise.all(strangers.map((stranger) => stranger.heldMs));
    expect(Math.min(...heldMs)).toBeGreaterThanOrEqual(LIMITS.helloMs);
    const want: Closed = { code: CLOSE.policyViolation, reason: "no hello in time" };
    const closed = await Promise.all(strangers.map((stranger) => stranger.closed));
    expect(closed).toEqual(Array(200).fill(want));
  });
});

describe("a worker whose machine stops answering", () => {
  it("with its connection open loses its job to another worker within the lease, and is no longer listed", async () => {
    const { asking, heir, heldMs } = silent;
    expect(JSON.parse((await asking).body).choices[0].message.content).toBe("hello?");
    // It sends a heartbeat every ten seconds, so at least twenty seconds pass until the pool knows that it is gone.
    expect(await heldMs).toBeGreaterThan(20_000);
    await until(async () => {
      const serving = (await pool.admin.workers()).workers.filter(({ models }) => models[0]?.name === "instant");
      return serving.length === 1 && serving[0]?.worker_id === heir.signer.id;
    });
    await heir.close();
  });
});

it("none of these attacks is counted as a failure of the pool", () => {
  expect(pool.logged).toEqual([]);
});

/** A real agent with an engine that answers immediately. The kernel has stopped its process; it holds a job. */
async function startSilentWorker() {
  const { token } = await pool.admin.invite({});
  const env = { LIGAND_POOL: pool.url, BENCH_TOKENS: token, BENCH_SLOTS: "1" };
  const child = await startChild("instant-agent.ts", env);
  await until(async () => (await pool.metric("ligand_slots_free")) === 65);
  child.kill("SIGSTOP");
  const sinceMs = performance.now();
  const asking = askChat(pool, "instant", "hello?");
  await until(async () => (await pool.metric("ligand_num_requests_running")) === 1);
  const heir = await pool.worker("instant", 1);
  const heldMs = new Promise<number>((resolve) => {
    heir.onJob = (job) => {
      heir.answer(job, "hello?");
      resolve(performance.now() - sinceMs);
    };
  });
  heir.ready("instant", 1);
  return { child, asking, heir, heldMs };
}

/** Makes all of them, several at a time. */
async function crowd<T>(n: number, make: (i: number) => Promise<T>): Promise<T[]> {
  const made: T[] = [];
  for (let i = 0; i < n; i += 50) {
    made.push(...(await Promise.all(Array.from({ length: Math.min(50, n - i) }, (_, j) => make(i + j)))));
  }
  return made;
}

function jobsOf(worker: WorkerSocket): { next(): Promise<JobFrame> } {
  const jobs: JobFrame[] = [];
  let wake = () => {};
  worker.onJob = (job) => {
    jobs.push(job);
    wake();
  };
  return {
    async next() {
      for (;;) {
        const job = jobs.shift();
        if (job) return job;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

/** Sends as fast as the connection accepts. */
function sent(worker: WorkerSocket, frame: object): Promise<void> {
  return new Promise((resolve) => worker.socket.send(JSON.stringify(frame), () => resolve()));
}

async function firstText(client: Socket): Promise<void> {
  let read = "";
  while (!read.includes('"content":"x"')) {
    read += String(client.read() ?? "");
    if (!read.includes('"content":"x"')) await once(client, "readable");
  }
}
