import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ERRORS } from "../../schema/wire/errors.ts";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobFrame } from "../../schema/wire/worker-frames.ts";
import type { WorkerSocket } from "../fuzz/worker-socket.ts";
import { type HardPool, quiet, rawClient, rawPost, startHardPool, until } from "./hardening-support.ts";

/** Answers of the largest size and beyond, and clients that do not read them. */
let pool: HardPool;
beforeAll(async () => {
  pool = await startHardPool();
});
afterAll(() => pool.stop());

const MIB = 1024 * 1024;
const MODEL = "wide";
const DIMENSIONS = LIMITS.embeddingDimensions;
/** What an isolate may hold besides what its lane counts; the platform resets it at 128 MB. */
const BEYOND_MIB = 48;
const BOUND_MIB = (LIMITS.laneBytes + LIMITS.laneReserveBytes) / MIB + BEYOND_MIB;

const embeddingBody = (inputs: number) =>
  Buffer.from(JSON.stringify({ model: MODEL, input: Array(inputs).fill("x"), dimensions: DIMENSIONS }));
const embed = (inputs: number, key = pool.key) => pool.http.ask("POST", "/v1/embeddings", key, embeddingBody(inputs));
const held = async (what: string) => (await pool.held())[`main ${what}`] ?? 0;

/** The most memory that workerd holds until `work` is done. */
async function peakMiB(work: Promise<unknown>): Promise<number> {
  let isDone = false;
  const ended = work.finally(() => {
    isDone = true;
  });
  let peak = pool.residentMiB();
  while (!isDone) {
    await Promise.race([sleep(10), ended]);
    peak = Math.max(peak, pool.residentMiB());
  }
  await ended;
  return peak;
}

describe("embeddings", () => {
  let worker: WorkerSocket;
  let before: number;
  beforeAll(async () => {
    worker = await pool.worker(MODEL, 64);
    worker.onJob = (job) => {
      worker.answer(job, "");
      worker.ready(MODEL, 64);
    };
    worker.ready(MODEL, 64);
    // Warm up: the memory that any answer needs is allocated.
    expect((await embed(8)).status).toBe(200);
    await quiet(pool, MODEL);
    before = pool.residentMiB();
  });
  afterAll(() => worker.close());

  it("in the largest possible answer take no more memory than the lane counts and its isolate may hold", async () => {
    const peak = await peakMiB(
      embed(LIMITS.embeddingInputs).then(({ status, body }) => {
        expect(status).toBe(200);
        const { data } = JSON.parse(body);
        expect([data.length, data.at(-1).embedding.length]).toEqual([LIMITS.embeddingInputs, DIMENSIONS]);
      }),
    );
    console.log(`one answer: ${before} MiB before, ${peak} MiB at most`);
    expect(peak - before).toBeLessThan(BOUND_MIB);
    await until(async () => Object.keys(await pool.held()).length === 0);
  });

  it("of 2,048 inputs that exceed the size of an answer end with an error that says what to do", async () => {
    const peak = await peakMiB(
      embed(LIMITS.embeddingRequestInputs).then(({ status, body }) => {
        const { error } = JSON.parse(body);
        expect([status, error.code]).toEqual([400, "answer_too_large"]);
        expect(error.message).toContain("at most 512 inputs");
      }),
    );
    console.log(`2,048 inputs: ${peak} MiB at most`);
    expect(peak - before).toBeLessThan(BOUND_MIB);
    await until(async () => Object.keys(await pool.held()).length === 0);
  });

  it("that a client does not read are counted, bounded per key and in total, and freed", async () => {
    const keys = [pool.key];
    for (let i = 0; i < 3; i++) keys.push((await pool.admin.createKey({ requests_per_minute: 10_000 })).key);
    // The runtime's heap grows with the frames that pass and does not shrink. So let it grow first: clients that read
    // get as much as the attack sends.
    const ROUNDS = 6;
    const reading = async () => {
      for (let i = 0; i < ROUNDS * keys.length; i++) expect((await embed(LIMITS.embeddingInputs)).status).toBe(200);
    };
    expect((await peakMiB(reading())) - before).toBeLessThan(BOUND_MIB);
    await until(async () => Object.keys(await pool.held()).length === 0);
    const warm = pool.residentMiB();

    const clients: Socket[] = [];
    const refusals = `ligand_request_errors_total{model_name="${MODEL}",code="inference/answer-room"}`;
    const refusedBefore = await pool.metric(refusals);
    const attack = async () => {
      for (let round = 0; round < ROUNDS; round++) {
        for (const key of keys) {
          clients.push(
            await rawClient(pool, rawPost(pool, "/v1/embeddings", embeddingBody(LIMITS.embeddingInputs), key)),
          );
        }
      }
      // Each answer is held for its reader, or was refused.
      await until(async () => {
        const waiting = await held("answers_being_read");
        return waiting + (await pool.metric(refusals)) - refusedBefore >= clients.length && (await held("jobs")) === 0;
      });
    };
    const peak = await peakMiB(attack());
    const bytes = await held("answer_bytes");
    console.log(
      `${clients.length} answers unread: ${warm} MiB before, ${peak} MiB at most, ${bytes / MIB} MiB counted`,
    );
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThanOrEqual(LIMITS.laneBytes);
    expect(await pool.metric(refusals)).toBeGreaterThan(refusedBefore);
    expect(peak - warm).toBeLessThan(BOUND_MIB);
    // Another client's answer still has room.
    const bystander = (await pool.admin.createKey({})).key;
    expect((await embed(1, bystander)).status).toBe(200);
    await until(async () => Object.keys(await pool.held()).length === 0);
    for (const client of clients) client.destroy();
  });
});

describe("a worker that sends without end", () => {
  it("is cut at the size of the model's context and flagged, and its client's key is locked for a minute at most", async () => {
    const model = "endless";
    const worker = await pool.worker(model, 1);
    const { key } = await pool.admin.createKey({ tokens_per_minute: 1_000 });
    const asked = new Promise<JobFrame>((resolve) => {
      worker.onJob = resolve;
    });
    const stopped = new Promise<string>((resolve) => {
      worker.onCancel = resolve;
    });
    worker.ready(model, 1);
    const messages = [{ role: "user", content: "hi" }];
    const body = Buffer.from(JSON.stringify({ model, messages, stream: true }));
    const answer = pool.http.ask("POST", "/v1/chat/completions", key, body);
    const { jobId, lease } = await asked;
    const text = "y".repeat(LIMITS.deltaTextChars);
    for (let seq = 0; seq * text.length < 64 * MIB; seq++) {
      worker.send({ type: "delta", jobId, lease, seq, text, tokens: 65_536 });
    }
    expect(await stopped).toBe(jobId);
    const { body: said } = await answer;
    const error = ERRORS["inference/answer-overlong"];
    expect(said.trimEnd().split("\n").at(-1)).toContain(`"code":"${error.openAiCode}"`);
    // WorkerSocket's manifest declares 4,096 tokens.
    expect(said.length).toBeLessThan(4_096 * LIMITS.tokenBytes + 64 * 1024);
    const ended = `ligand_request_errors_total{model_name="${model}",code="inference/answer-overlong"}`;
    expect(await pool.metric(ended)).toBe(1);

    // The key owes one minute, not the 4,096 and more tokens that the worker reports.
    await until(async () => {
      const next = await pool.http.ask("POST", "/v1/chat/completions", key, body);
      if (next.status !== 429) return false;
      expect(JSON.parse(next.body).error.code).toBe("rate_limit_exceeded");
      expect(Number(next.headers["retry-after"])).toBeLessThanOrEqual(61);
      return true;
    });
    await worker.close();
  });
});
