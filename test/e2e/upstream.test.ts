import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import OpenAI, { type APIError, BadRequestError } from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import { type LlamaServer, ScriptedServer, startLlamaServer } from "../agent/http-servers.ts";
import { SERVER_MODEL } from "../agent/llama-http-names.ts";
import { ligand, type PoolProcess, startPool, startWorker, temporaryFolder, waitFor } from "./support.ts";

/** The official client, a real pool and a real worker, which serves another company's server or several models. */
let pool: PoolProcess;
let server: LlamaServer;
let client: OpenAI;
const KEY = "sk-end-to-end";
const ask = (content: string, model = SERVER_MODEL) => ({ model, messages: [{ role: "user" as const, content }] });

beforeAll(async () => {
  [pool, server] = await Promise.all([startPool(), startLlamaServer(KEY)]);
  client = new OpenAI({ baseURL: `${pool.url}/v1`, apiKey: pool.credentials.client_key, maxRetries: 0 });
});
afterAll(() => server.stop());

describe("a worker over another server", () => {
  it("serves its models, streamed and whole, and never shows its key", async () => {
    const worker = await startWorker(pool, {
      args: ["--engine", "upstream", "--upstream-url", server.url, "--upstream-slots", "2"],
      env: { LIGAND_UPSTREAM_KEY: KEY },
    });
    const { data, response } = await client.chat.completions.create(ask("What is a pool?")).withResponse();
    expect(data.choices[0]?.message.content).toMatch(/^[A-Z]/);
    expect(data.usage?.completion_tokens).toBeGreaterThan(3);
    expect(response.headers.get("x-ligand-deterministic")).toBe("false");
    const stream = await client.chat.completions.create({
      ...ask("What is a worker?"),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await Array.fromAsync(stream);
    const onRecord = (data.usage?.completion_tokens ?? 0) + (chunks.at(-1)?.usage?.completion_tokens ?? 0);
    expect(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("")).not.toBe("");
    const tooLong = client.completions.create({ model: SERVER_MODEL, prompt: "pool ".repeat(400) });
    await expect(tooLong).rejects.toThrow(BadRequestError);
    await expect(tooLong).rejects.toMatchObject({ code: "context_length_exceeded" });
    const why = "inference/context-length-exceeded. The prompt does not fit the model's context.";
    await waitFor(() => worker.output().includes(`(${SERVER_MODEL}) failed: ${why}\n`), 10_000, "the log to say why");
    const { stdout } = await ligand(["worker", "status", "--state", worker.stateDir]);
    expect(stdout).toMatch(new RegExp(`^So far .*\\(2 done, 1 failed, 0 cancelled\\), ${onRecord} tokens in `, "m"));
    expect(stdout).toMatch(new RegExp(`^Failed {6}${SERVER_MODEL}, \\d+ s ago: ${why}$`, "m"));
    expect(worker.output()).toContain(`Serves ${SERVER_MODEL}: 2 jobs at once`);
    expect(worker.output() + JSON.stringify(worker.status())).not.toContain(KEY);
    expect((await worker.stop()).code).toBe(0);
  });
});

describe("a worker over a server that refuses", () => {
  it.each<[status: number, headers: Record<string, string>, error: object, retryAfter: string | null]>([
    [429, { "retry-after": "17" }, { status: 503, code: "worker_busy" }, "17"],
    [503, {}, { status: 503, code: "worker_busy" }, "5"],
    [400, {}, { status: 400, code: "upstream_refused" }, null],
    [413, {}, { status: 400, code: "context_length_exceeded" }, null],
    [401, {}, { status: 502, code: "engine_error" }, null],
    [404, {}, { status: 404, code: "model_not_found", param: "model" }, null],
  ])("with %i %j is called once, and the client gets a code", async (status, headers, error, retryAfter) => {
    const upstream = await ScriptedServer.listen((response, { path }) => {
      response.writeHead(path === "/v1/models" ? 200 : status, { "content-type": "application/json", ...headers });
      response.end(JSON.stringify(path === "/v1/models" ? { data: [{ id: "m" }] } : { error: { message: "no" } }));
    });
    const worker = await startWorker(pool, { args: ["--engine", "upstream", "--upstream-url", upstream.url] });
    for (const stream of [false, true]) {
      const before = upstream.requests.length;
      const refused = client.chat.completions.create({ ...ask("Hello", "m"), stream });
      await expect(refused).rejects.toMatchObject(error);
      const retryAfterHeader = await refused.catch((cause: APIError) => cause.headers?.get("retry-after"));
      // The client gets the rest of the pause that the server asked for; meanwhile the server is not called.
      const pauses = stream && status === 429;
      expect(upstream.requests.length - before).toBe(pauses ? 0 : 1);
      if (pauses) expect(Number(retryAfterHeader)).toBeLessThanOrEqual(17);
      else expect(retryAfterHeader).toBe(retryAfter);
    }
    await worker.stop();
    upstream.close();
  });
});

describe("a worker with two models", () => {
  it("answers with either, although only one fits in memory", async () => {
    const folder = temporaryFolder();
    const files = ["one", "two"].map((name) => join(folder, `${name}.gguf`));
    for (const file of files) copyFileSync(EMBEDDED_MODEL.path, file);
    const args = [...files.flatMap((file) => ["--model", file]), "--memory-limit", "30MB", "--context", "256"];
    const worker = await startWorker(pool, { slots: 2, args: [...args, "--gpu", "off"] });
    for (const model of ["one", "two", "one"]) {
      const answer = await client.chat.completions.create(ask("What is a lane?", model));
      expect(answer.model).toBe(model);
      expect(answer.choices[0]?.message.content).not.toBe("");
    }
    expect(worker.output()).toContain("unloading one to make room for two");
    expect(worker.output()).toContain("unloading two to make room for one");
    await worker.stop();
  });
});

describe("worker start says what to do", () => {
  const start = async (args: string[], env: Record<string, string> = {}) => {
    const folder = temporaryFolder();
    const { token } = await pool.admin.invite({ label: "refused" });
    writeFileSync(join(folder, "token"), token, { mode: 0o600 });
    const where = ["--pool", pool.url, "--token-file", join(folder, "token"), "--state", join(folder, "state")];
    return ligand(["worker", "start", ...where, ...args], env);
  };

  it.each<[what: string, args: string[], code: number, words: RegExp]>([
    ["no server answers", ["--upstream-url", "http://127.0.0.1:2"], 1, /nothing listens there.*--upstream-model/s],
    ["the connection would not be encrypted", ["--upstream-url", "http://192.0.2.1/v1"], 2, /--upstream-insecure/],
    ["two flags contradict each other", ["--upstream-slots", "2"], 2, /works only with --engine upstream/],
    ["a limit is too small", ["--memory-limit", "1MB"], 2, /--memory-limit allows/],
  ])("when %s", async (_what, args, code, words) => {
    const ended = await start(args);
    expect(ended.stdout + ended.stderr).toMatch(words);
    expect(ended.code).toBe(code);
  });

  it("when the network is down and the model is on the hub", async () => {
    const args = ["--model", "hf:acme/Tiny-GGUF:Q8_0", "--models-dir", temporaryFolder()];
    const ended = await start(args, { HF_ENDPOINT: "http://127.0.0.1:9" });
    expect(ended.stdout).toMatch(/Could not reach http:\/\/127\.0\.0\.1:9\/.*--model PATH\.gguf/);
    expect(ended.code).toBe(1);
  });
});
