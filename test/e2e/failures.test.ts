import OpenAI from "openai";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { type PoolProcess, type StartWorker, startPool, startWorker, type WorkerProcess, waitFor } from "./support.ts";

/** What must hold when processes die: a real pool, real agents, real signals. */
let pool: PoolProcess;
let client: OpenAI;
const ask = (content = "What is a pool?") => ({
  model: "ligand-embedded",
  messages: [{ role: "user" as const, content }],
});

beforeAll(async () => {
  pool = await startPool();
  client = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey: pool.credentials.client_key, maxRetries: 0 });
});

/** The workers of one test. They end with it, so that the pool of the next test has only its own workers. */
const running: WorkerProcess[] = [];
async function work(options: StartWorker): Promise<WorkerProcess> {
  const worker = await startWorker(pool, options);
  running.push(worker);
  return worker;
}
afterEach(async () => {
  for (const worker of running.splice(0)) await worker.kill9();
  await waitFor(
    async () => (await pool.admin.workers()).workers.length === 0,
    15_000,
    "the pool to be without workers",
  );
});

async function activeOn(workerId: string): Promise<number> {
  const { workers } = await pool.admin.workers();
  return (
    workers.find((worker) => worker.worker_id === workerId)?.models.reduce((sum, model) => sum + model.active, 0) ?? 0
  );
}

describe("a client that closes its stream", () => {
  it("cancels the job at its worker, which counts no finished job", async () => {
    const worker = await work({ slots: 8 });
    const question = { ...ask("Tell me everything about Ligand."), temperature: 0, stream: true } as const;
    const streams = await Promise.all(Array.from({ length: 8 }, () => client.chat.completions.create(question)));
    const reading = streams.map((stream) => stream[Symbol.asyncIterator]());
    for (const chunks of reading) await chunks.next();
    // From here on the worker produces nothing until the pool has cancelled the job, however fast the model is.
    process.kill(worker.pid, "SIGSTOP");
    for (const stream of streams) stream.controller.abort();
    await waitFor(async () => (await activeOn(worker.workerId)) === 0, 5_000, "the pool to have cancelled all eight");
    process.kill(worker.pid, "SIGCONT");
    const idle = () => {
      const { counters } = worker.status();
      return counters.activeGenerations === 0 && counters.jobsCancelled + counters.jobsDone === 8 && counters;
    };
    const counters = await waitFor(idle, 5_000, "the worker to stop");
    expect(counters).toMatchObject({ jobsStarted: 8, jobsCancelled: 8, jobsDone: 0 });
  });
});

describe("a worker that dies", () => {
  it("while it holds jobs without output: another worker completes every request", async () => {
    const doomed = await work({ slots: 4 });
    // The frozen worker accepts the jobs that it asked for, and answers nothing.
    process.kill(doomed.pid, "SIGSTOP");
    const whole = Array.from({ length: 2 }, () => client.chat.completions.create(ask()));
    const streamed = Array.from({ length: 2 }, () => client.chat.completions.create({ ...ask(), stream: true }));
    await waitFor(async () => (await activeOn(doomed.workerId)) === 4, 10_000, "the frozen worker to hold four jobs");
    const heir = await work({ slots: 2 });
    const more = Array.from({ length: 6 }, () => client.chat.completions.create(ask()));
    await doomed.kill9();

    for (const answer of await Promise.all([...whole, ...more]))
      expect(answer.choices[0]?.message.content).toMatch(/\w+/);
    for (const stream of await Promise.all(streamed)) {
      const chunks = await Array.fromAsync(stream);
      expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("stop");
    }
    expect((await waitForDone(heir.status, 10)).jobsDone).toBe(10);
  });

  it("in the middle of a stream: the client gets an error event", async () => {
    const doomed = await work({ slots: 1 });
    const stream = await client.chat.completions.create({ ...ask("Tell me everything about Ligand."), stream: true });
    const read = (async () => {
      for await (const chunk of stream) if (chunk.choices[0]?.delta.content) await doomed.kill9();
    })();
    await expect(read).rejects.toMatchObject({ code: "worker_lost" });
  });
});

describe("a worker token", () => {
  it("that is revoked: the socket is closed, other workers do its jobs, and it cannot reconnect", async () => {
    const revoked = await work({ slots: 1 });
    process.kill(revoked.pid, "SIGSTOP");
    const asking = client.chat.completions.create(ask());
    await waitFor(async () => (await activeOn(revoked.workerId)) === 1, 10_000, "the frozen worker to hold the job");
    const heir = await work({ slots: 1 });
    await pool.admin.revokeToken(revoked.tokenId);
    const { workers } = await pool.admin.workers();
    expect(workers.map((worker) => worker.worker_id)).toEqual([heir.workerId]);
    expect((await asking).choices[0]?.message.content).toMatch(/\w+/);

    process.kill(revoked.pid, "SIGCONT");
    await waitFor(() => revoked.output().includes("revoked"), 5_000, "the agent to say why it stopped");
    await waitFor(() => !isRunning(revoked.pid), 5_000, "the agent to have ended by itself");
    expect((await revoked.stop()).code).toBe(3);
  });
});

describe("workerd that dies while jobs run", () => {
  it("restarts on the same folder; agents reconnect by themselves; keys, tokens and usage are still there", async () => {
    const worker = await work({ slots: 2 });
    const { id, key } = await pool.admin.createKey({ label: "survivor", requests_per_minute: 1_000 });
    const survivor = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey: key, maxRetries: 0 });
    const answer = await survivor.chat.completions.create(ask());
    const usage = async () => (await pool.admin.keys()).find((row) => row.id === id)?.completion_tokens;
    await waitFor(async () => (await usage()) === answer.usage?.completion_tokens, 10_000, "the usage to be recorded");

    const before = pool.workerdPid();
    const stream = await survivor.chat.completions.create({ ...ask("Tell me everything about Ligand."), stream: true });
    const read = (async () => {
      for await (const chunk of stream) if (chunk.choices[0]?.delta.content) process.kill(before, "SIGKILL");
    })();
    await expect(read).rejects.toThrow();

    const connected = async () => (await pool.admin.workers()).workers.some((row) => row.worker_id === worker.workerId);
    await waitFor(connected, 60_000, "the worker to have returned");
    expect(pool.workerdPid()).not.toBe(before);
    await waitFor(() => worker.status().counters.connections > 1, 5_000, "the agent to have counted its return");
    expect((await survivor.chat.completions.create(ask())).choices[0]?.message.content).toMatch(/\w+/);
    expect(await usage()).toBeGreaterThanOrEqual(answer.usage?.completion_tokens ?? Number.POSITIVE_INFINITY);
  });
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function waitForDone(status: () => { counters: { jobsDone: number } }, jobs: number) {
  return waitFor(() => status().counters.jobsDone >= jobs && status().counters, 10_000, `${jobs} jobs to be counted`);
}
