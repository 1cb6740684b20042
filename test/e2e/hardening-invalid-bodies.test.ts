import { afterAll, beforeAll, expect, it } from "vitest";
import { Http } from "../fuzz/http.ts";
import {
  askChat,
  chatBody,
  type HardPool,
  rawChat,
  rawClient,
  serveAtOnce,
  startHardPool,
  until,
} from "./hardening-support.ts";

let pool: HardPool;
beforeAll(async () => {
  pool = await startHardPool();
});
afterAll(() => pool.stop());

/** 213 KiB of tools. The pool must read each tool before it finds that the last one is wrong. */
function expensiveTools(): Buffer {
  const properties = Object.fromEntries(
    Array.from({ length: 24 }, (_, i) => [
      `p${i}`,
      { type: "object", properties: { a: { type: "string", maxLength: 900 } } },
    ]),
  );
  const tool = (i: number, parameters: object) => ({ type: "function", function: { name: `f${i}`, parameters } });
  const tools = Array.from({ length: 113 }, (_, i) => tool(i, { type: "object", properties }));
  return chatBody("served", "hi", { tools: [...tools, tool(tools.length, { type: "nothing" })] });
}

it("most invalid bodies of one key, 213 KiB each on four connections, are not read, and another key is served", async () => {
  serveAtOnce(await pool.worker("served", 8), "served", 8);
  const perMinute = 4;
  const { key } = await pool.admin.createKey({ requests_per_minute: perMinute });
  const attacker = new Http(pool.url, 4, 60_000);
  const body = expensiveTools();
  expect(body.byteLength).toBeGreaterThan(200 * 1024);

  const startedMs = performance.now();
  const attack = Promise.all(
    Array.from({ length: 200 }, () => attacker.ask("POST", "/v1/chat/completions", key, body)),
  );
  const others = await Promise.all(Array.from({ length: 100 }, (_, i) => askChat(pool, "served", `question ${i}`)));
  const answers = await attack;
  const refills = Math.floor(((performance.now() - startedMs) / 60_000) * perMinute);
  attacker.close();

  expect(others.map(({ status }) => status)).toEqual(Array(100).fill(200));
  const invalid = answers.filter(({ status }) => status === 400);
  const limited = answers.filter(({ status }) => status === 429);
  expect(invalid.length + limited.length).toBe(answers.length);
  expect(invalid.length).toBeGreaterThanOrEqual(perMinute);
  expect(invalid.length).toBeLessThanOrEqual(perMinute + refills);
  expect(limited[0]?.headers["retry-after"]).toMatch(/^\d+$/);
});

it.each([
  ["half a body", (body: Buffer) => body.subarray(0, -40)],
  ["a whole invalid body, not waiting for the answer", (body: Buffer) => body],
])("a client that sends %s and disconnects pays for one request", async (_what, cut) => {
  await until(async () => {
    const { key } = await pool.admin.createKey({ requests_per_minute: 1 });
    const client = await rawClient(pool, cut(rawChat(pool, chatBody("nobody", "hi", { unheard: "of" }), key)));
    client.destroy();
    // The pool notices the disconnection later. If the probe was earlier, repeat with another key.
    for (let i = 0; i < 20; i++) await pool.http.ask("GET", "/healthz", {});
    const probe = await pool.http.ask("POST", "/v1/chat/completions", key, chatBody("nobody", "hi"));
    return probe.status === 429;
  });
});
