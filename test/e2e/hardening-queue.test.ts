import { afterAll, beforeAll, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { JobFrame } from "../../schema/wire/worker-frames.ts";
import type { WorkerSocket } from "../fuzz/worker-socket.ts";
import { askChat, type HardPool, quiet, startHardPool, until } from "./hardening-support.ts";

let pool: HardPool;
beforeAll(async () => {
  pool = await startHardPool();
});
afterAll(() => pool.stop());

const MODEL = "busy";
const ROUNDS = 3;
const WARM_UP_ROUNDS = 2;
const MOST_ROUNDS = 10;
/** Every tenth answer comes in one piece. The others are streams, which state their position in the queue. */
const isStream = (i: number) => i % 10 !== 0;
const STREAMS = (LIMITS.queuePerModel * 9) / 10;

it("a thousand requests wait for one busy worker: they are served in order and completely, one more is refused, and no memory stays in use", async () => {
  const worker = await pool.worker(MODEL, 1);
  // Memory is what the kernel counts for workerd when nothing runs, nothing waits and every record is in D1. The
  // runtime's heap grows to its final size in a few large steps, at unknown times. A step costs three more rounds;
  // memory that every job leaks shows in all of them.
  const resident: number[] = [];
  const grown = () => (resident.at(-1) ?? 0) / (resident.at(-1 - ROUNDS) ?? 0);
  while (resident.length < WARM_UP_ROUNDS + ROUNDS || (grown() >= 1.1 && resident.length < MOST_ROUNDS)) {
    await round(worker);
    resident.push(pool.residentMiB());
  }
  await until(async () => Object.keys(await pool.held()).length === 0);
  console.log(`workerd: ${resident.join(", ")} MiB after each round of a thousand`);
  expect(grown()).toBeLessThan(1.1);
  expect(pool.logged).toEqual([]);
});

async function round(worker: WorkerSocket): Promise<void> {
  // The worker is busy: it has no free slot.
  worker.ready(MODEL, 0);
  expect(await worker.sync()).toBeNull();
  let begun = 0;
  const asked = Array.from({ length: LIMITS.queuePerModel }, (_, i) =>
    askChat(pool, MODEL, `question ${i}`, { stream: isStream(i) }, () => {
      begun += 1;
    }),
  );
  // A waiting stream begins with its position.
  await until(() => begun === STREAMS);
  await until(async () => (await pool.metric("ligand_num_requests_waiting")) === LIMITS.queuePerModel);
  for (const stream of [true, false]) {
    const refused = await askChat(pool, MODEL, "one too many", { stream });
    expect([refused.status, JSON.parse(refused.body).error.code]).toEqual([503, "queue_full"]);
    expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
  }

  const served: JobFrame[] = [];
  worker.onJob = (job) => {
    served.push(job);
    worker.answer(job, questionOf(job));
    worker.ready(MODEL, 1);
  };
  worker.ready(MODEL, 1);
  const answers = await Promise.all(asked);
  worker.onJob = () => {};

  expect(new Set(served.map(({ jobId }) => jobId)).size, "each once").toBe(LIMITS.queuePerModel);
  expect(served).toHaveLength(LIMITS.queuePerModel);
  const position = new Map(served.map((job, at) => [questionOf(job), at + 1]));
  for (const [i, { status, body }] of answers.entries()) {
    expect(status).toBe(200);
    const answerText = isStream(i) ? streamed(body) : JSON.parse(body).choices[0].message.content;
    expect(answerText, "its own answer").toBe(`question ${i}`);
    // The position that was stated before any request was served is the order of service.
    if (isStream(i)) expect(Number(/^: queued place=(\d+)$/m.exec(body)?.[1])).toBe(position.get(`question ${i}`));
  }
  await quiet(pool, MODEL);
}

const questionOf = (job: JobFrame) => ("messages" in job.request ? (job.request.messages[0]?.content ?? "") : "");

function streamed(body: string): string {
  const data = body.split("\n").flatMap((line) => (line.startsWith("data: {") ? [JSON.parse(line.slice(6))] : []));
  return data.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
}
