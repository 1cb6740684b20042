import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobFrame } from "../../schema/wire/worker-frames.ts";
import type { WorkerSocket } from "../fuzz/worker-socket.ts";
import { chatBody, type HardPool, quiet, rawChat, rawClient, startHardPool, until } from "./hardening-support.ts";

/** Answers in one piece that take longer than the pool may hold back their status. */
let pool: HardPool;
beforeAll(async () => {
  pool = await startHardPool({ statusHoldSeconds: LIMITS.statusHoldMinSeconds });
});
afterAll(() => pool.stop());

const nextJob = (worker: WorkerSocket) =>
  new Promise<JobFrame>((resolve) => {
    worker.onJob = resolve;
  });

// Each test waits for the status that the pool sends before its answer, and disturbs no other test.
describe.concurrent("a client that waits for an answer in one piece", () => {
  it.each([["closes"], ["resets"]])(
    "that %s its connection while its job runs cancels the job at the worker",
    async (how) => {
      const model = `runs-${how}`;
      const worker = await pool.worker(model, 1);
      const cancelled = new Promise<string>((resolve) => {
        worker.onCancel = resolve;
      });
      const asked = nextJob(worker);
      worker.ready(model, 1);
      const client = await rawClient(pool, rawChat(pool, chatBody(model, "hi")));
      const { jobId } = await asked;
      if (how === "closes") client.destroy();
      else client.resetAndDestroy();
      expect(await cancelled).toBe(jobId);
      await quiet(pool, model);
      await worker.close();
    },
  );

  it("that disconnects while its job waits removes it from the queue: no worker gets it", async () => {
    const model = "waits";
    const worker = await pool.worker(model, 1);
    worker.ready(model, 0);
    const client = await rawClient(pool, rawChat(pool, chatBody(model, "hi")));
    await until(async () => (await pool.metric(`ligand_num_requests_waiting{model_name="${model}"}`)) === 1);
    client.destroy();
    const ended = `ligand_request_errors_total{model_name="${model}",code="inference/cancelled"}`;
    await until(async () => (await pool.metric(ended)) === 1);
    await quiet(pool, model);
    await worker.close();
  });

  it("with the official SDK gets a late answer", async () => {
    const worker = await pool.worker("late", 1);
    const asked = nextJob(worker);
    worker.ready("late", 1);
    const client = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey: pool.key, maxRetries: 0 });
    const answer = client.chat.completions.create({ model: "late", messages: [{ role: "user", content: "hi" }] });
    // The status has arrived, and the answer has not.
    expect((await answer.asResponse()).status).toBe(200);
    worker.answer(await asked, "at last");
    expect((await answer).choices[0]?.message.content).toBe("at last");
    await worker.close();
  });
});

it("that resets its connection while its status is held back cancels its job, long before the hold ends", async () => {
  const patient = await startHardPool({ statusHoldSeconds: LIMITS.statusHoldMaxSeconds });
  try {
    const worker = await patient.worker("held", 1);
    const asked = nextJob(worker);
    const cancelled = new Promise<string>((resolve) => {
      worker.onCancel = resolve;
    });
    worker.ready("held", 1);
    const client = await rawClient(patient, rawChat(patient, chatBody("held", "hi")));
    const { jobId } = await asked;
    client.resetAndDestroy();
    expect(await cancelled).toBe(jobId);
    await quiet(patient, "held");
  } finally {
    await patient.stop();
  }
});
