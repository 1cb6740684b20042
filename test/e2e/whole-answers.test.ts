import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobFrame } from "../../schema/wire/worker-frames.ts";
import type { WorkerSocket } from "../fuzz/worker-socket.ts";
import { chatBody, type HardPool, quiet, rawChat, rawClient, startHardPool, until } from "./hardening-support.ts";

/** Whole answers that take longer than their status may wait. */
let pool: HardPool;
beforeAll(async () => {
  pool = await startHardPool({ statusHoldSeconds: LIMITS.statusHoldMinSeconds });
});
afterAll(() => pool.stop());

const nextJob = (worker: WorkerSocket) =>
  new Promise<JobFrame>((resolve) => {
    worker.onJob = resolve;
  });

// Each waits for the status that the pool sends before its answer, and disturbs no other.
describe.concurrent("a client of an answer in one piece", () => {
  it.each([["closes"], ["resets"]])("that %s its connection while its job runs stops it at the worker", async (how) => {
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
  });

  it("that leaves while its job waits takes it out of the queue: no worker sees it", async () => {
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

  it("gets it from the official SDK, late as it is", async () => {
    const worker = await pool.worker("late", 1);
    const asked = nextJob(worker);
    worker.ready("late", 1);
    const client = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey: pool.key, maxRetries: 0 });
    const answer = client.chat.completions.create({ model: "late", messages: [{ role: "user", content: "hi" }] });
    // The status is here, and the answer is not.
    expect((await answer.asResponse()).status).toBe(200);
    worker.answer(await asked, "at last");
    expect((await answer).choices[0]?.message.content).toBe("at last");
    await worker.close();
  });
});

it("a client that resets its connection while its status is held stops its job, long before the hold ends", async () => {
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
