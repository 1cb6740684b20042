import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { DEAR_SCHEMAS } from "../fuzz/dear-schemas.ts";
import { startPool, startWorker } from "./support.ts";

const MOST_MIB = 200;

/** The most memory that the process ever had. The kernel's counter misses no moment. */
function peakMiB(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}

it("a client with expensive schemas makes no worker large, and every worker stays connected", async () => {
  const pool = await startPool();
  const worker = await startWorker(pool, { slots: 4 });
  const ask = async (schema: object) => {
    const response = await fetch(`${pool.url}/v1/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${pool.credentials.client_key}`, "content-type": "application/json" },
      body: JSON.stringify({
        model: "ligand-embedded",
        messages: [{ role: "user", content: "Hello" }],
        response_format: { type: "json_schema", json_schema: { name: "x", schema } },
        max_tokens: 8,
      }),
    });
    await response.text();
    return response.status;
  };
  expect(await Promise.all([1, 2, 3, 4].map(() => ask({ type: "string", maxLength: 9 })))).toEqual([
    200, 200, 200, 200,
  ]);
  const before = peakMiB(worker.pid);
  for (const [what, schema] of Object.entries(DEAR_SCHEMAS)) {
    expect(await Promise.all([1, 2, 3, 4].map((salt) => ask(schema(salt)))), what).toEqual([200, 200, 200, 200]);
  }
  expect(peakMiB(worker.pid) - before).toBeLessThan(MOST_MIB);
  expect(worker.ended()).toBeUndefined();
});
