import { expect, it } from "vitest";
import { startHardPool, until } from "./hardening-support.ts";

it("`auto` for embeddings is the model that the operator sets; without a setting there is none", async () => {
  const pool = await startHardPool({ embeddingModel: "second" });
  try {
    const offer = async (model: string) => {
      const worker = await pool.worker(model, 1);
      worker.onJob = (job) => {
        worker.answer(job, "");
        worker.ready(model, 1);
      };
      worker.ready(model, 1);
      return worker;
    };
    await offer("first");
    const ask = () =>
      pool.http.ask("POST", "/v1/embeddings", pool.key, Buffer.from(JSON.stringify({ model: "auto", input: "hi" })));
    const unserved = await ask();
    expect([unserved.status, JSON.parse(unserved.body).error]).toMatchObject([
      503,
      { code: "no_worker", message: expect.stringContaining("second") },
    ]);
    const second = await offer("second");
    await until(async () => (await ask()).status === 200);
    expect(JSON.parse((await ask()).body).model).toBe("second");
    await second.close();
    await until(async () => (await ask()).status === 503);
  } finally {
    await pool.stop();
  }
});
