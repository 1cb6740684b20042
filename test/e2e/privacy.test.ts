import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import OpenAI from "openai";
import { describe, expect, it } from "vitest";
import { startPool, startWorker, waitFor } from "./support.ts";

const hex = (bytes: number) => Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString("hex");

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile())
    .toSorted();
}

const holding = (folder: string, text: string) => files(folder).filter((path) => readFileSync(path).includes(text));

describe("what is on disk", () => {
  it("no file and no output of the pool or the worker contains a prompt or an answer", async () => {
    const pool = await startPool();
    const worker = await startWorker(pool, { slots: 2 });
    const client = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey: pool.credentials.client_key, maxRetries: 0 });
    const marker = `zebra${hex(12)}`;
    const label = `label${hex(12)}`;
    await pool.admin.createKey({ label });
    const answers: string[] = [];
    for (const seed of [undefined, 5]) {
      const whole = await client.chat.completions.create({
        model: "auto",
        messages: [{ role: "user", content: `${marker} What is a pool?` }],
        ...(seed !== undefined && { seed }),
      });
      answers.push(whole.choices[0]?.message.content ?? "");
      const stream = await client.chat.completions.create({
        model: "auto",
        messages: [
          { role: "system", content: marker },
          { role: "user", content: "What is a worker?" },
        ],
        stream: true,
      });
      answers.push((await Array.fromAsync(stream)).map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""));
    }
    await client.completions.create({ model: "auto", prompt: `${marker} is`, max_tokens: 8 });
    // A refused request leaves nothing either.
    await client.chat.completions
      .create({ model: "auto", messages: [{ role: "user", content: `${marker} ${"x ".repeat(9_000)}` }] })
      .catch(() => {});

    // Wait until the records are in D1 before the search.
    await waitFor(async () => (await pool.admin.keys()).some((key) => key.requests >= 5), 10_000, "five metering rows");
    expect(holding(pool.stateDir, label), "the search finds what is stored").not.toEqual([]);
    for (const text of [
      marker,
      ...answers.filter((answer) => answer.length > 20).map((answer) => answer.slice(0, 40)),
    ]) {
      expect(holding(pool.stateDir, text)).toEqual([]);
      expect(holding(worker.stateDir, text)).toEqual([]);
      expect(pool.output() + worker.output()).not.toContain(text);
    }
    expect(answers.some((answer) => answer.length > 20)).toBe(true);
    await worker.stop();
    await pool.stop();
    expect(holding(pool.stateDir, marker)).toEqual([]);
  });

  it("a thousand forged keys and tokens leave no file and start no object", async () => {
    const pool = await startPool();
    const before = files(pool.stateDir);
    const forged = (i: number) => {
      const key = i % 2 === 0;
      const text = `${key ? "lk" : "lw"}_${hex(8)}_${hex(20)}_${hex(12)}${key ? "" : `_${pool.credentials.atom_id}`}`;
      const [path, method, body] = key
        ? ([
            "/v1/chat/completions",
            "POST",
            JSON.stringify({ model: "auto", messages: [{ role: "user", content: "x" }] }),
          ] as const)
        : (["/v1/workers/connect", "GET", undefined] as const);
      return fetch(`${pool.url}${path}`, {
        method,
        headers: { authorization: `Bearer ${text}` },
        ...(body && { body }),
      });
    };
    for (let batch = 0; batch < 50; batch++) {
      const responses = await Promise.all(Array.from({ length: 20 }, (_, i) => forged(batch * 20 + i)));
      for (const response of responses) {
        expect(response.status).toBe(401);
        await response.text();
      }
    }
    expect(files(pool.stateDir)).toEqual(before);
    await pool.admin.createKey({ label: "one real key" });
    expect(files(pool.stateDir).length, "the count would show an object").toBeGreaterThan(before.length);
    await pool.stop();
  });
});
