import { randomUUID } from "node:crypto";
import { copyFile, open, readFile, stat, writeFile } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../schema/wire/limits.ts";
import type { AgentFrame } from "../../schema/wire/worker-frames.ts";
import { type AgentOptions, type AgentOutcome, runAgent } from "../../worker-agent/agent.ts";
import type { GenerationJob } from "../../worker-agent/engine/engine.ts";
import { llamaKinds } from "../../worker-agent/engine/llama/llama-engine.ts";
import { startLlama } from "../../worker-agent/engine/llama/llama-runtime.ts";
import { type HostedModel, ModelHost } from "../../worker-agent/engine/llama/model-host.ts";
import { estimateModel } from "../../worker-agent/engine/llama/model-memory.ts";
import type { AgentEvent } from "../../worker-agent/events.ts";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import { sha256Of } from "../../worker-agent/models/model-file.ts";
import { calibrate } from "../../worker-agent/profile/calibration.ts";
import { AGENT_VERSION } from "../../worker-agent/version.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { HubDouble } from "./hub-double.ts";
import { chat } from "./loaded-model.ts";
import { PoolDouble, type PoolSide } from "./pool-double.ts";
import { SteeredEngine } from "./steered-engine.ts";

/** Two copies of the embedded model under other names, and the memory of each with two slots. */
let folder: string;
let red: string;
let blue: string;
let neededBytes: number;
beforeAll(async () => {
  folder = temporaryFolder();
  [red, blue] = [join(folder, "red.gguf"), join(folder, "blue.gguf")];
  for (const path of [red, blue]) await copyFile(EMBEDDED_MODEL.path, path);
  const llama = await startLlama({ gpu: false });
  const needs = await estimateModel(llama, red, { slots: 2, contextTokens: 256 });
  await llama.dispose();
  if (!needs.ok) throw new Error(needs.message);
  neededBytes = needs.bytes;
  // The measurement of threads does not matter here, so the smallest count is chosen.
  const sha256 = await sha256Of(red, await stat(red), join(folder, "model-hashes.json"));
  const cpu = cpus()[0]?.model ?? "unknown";
  const subject = { modelSha256: sha256, cpu, cores: availableParallelism(), gpu: "cpu", agentVersion: AGENT_VERSION };
  const path = join(folder, "calibration.json");
  await calibrate({ path, subject, again: false, measure: async () => 1, nowMs: Date.now });
});

it("a model offers embeddings if its vectors are not longer than a pool accepts", async () => {
  const key = "llama.embedding_length";
  const header = await readFile(EMBEDDED_MODEL.path);
  // After the key, its type (4: an unsigned integer of 32 bits) and the value.
  const at = header.indexOf(key) + key.length + 4;
  const llama = await startLlama({ gpu: false });
  for (const dimensions of [LIMITS.embeddingDimensions, LIMITS.embeddingDimensions + 64]) {
    header.writeUInt32LE(dimensions, at);
    const path = join(folder, "wide-vectors.gguf");
    await writeFile(path, header);
    const needs = await estimateModel(llama, path, { slots: 1, contextTokens: 256 });
    if (!needs.ok) throw new Error(needs.message);
    expect(llamaKinds(needs.dimensions).includes("embedding")).toBe(dimensions <= LIMITS.embeddingDimensions);
  }
  await llama.dispose();
});

let pool: PoolDouble;
let drain: AbortController;
let events: AgentEvent[];
beforeEach(async () => {
  pool = await PoolDouble.listen();
  drain = new AbortController();
  events = [];
});
afterEach(() => {
  drain.abort();
  pool.close();
});

const start = async (options: Partial<AgentOptions>): Promise<AgentOutcome> => {
  void pool.probed();
  return runAgent({
    poolUrl: pool.url,
    token: pool.token,
    stateDir: join(temporaryFolder(), "state"),
    cacheDir: folder,
    models: [red, blue],
    slots: 2,
    contextTokens: 256,
    gpu: false,
    onEvent: (event) => events.push(event),
    signal: drain.signal,
    ...options,
  });
};

const ask = (side: PoolSide, model: string, maxTokens = 4): string => {
  const jobId = randomUUID();
  const request = { prompt: "Ligand is", maxTokens, temperature: 1.5, topP: 1, stream: true };
  side.send({ type: "job", jobId, lease: 1, model, kind: "completion", request, deadlineMs: Date.now() + 60_000 });
  return jobId;
};
const steps = () => events.flatMap((event) => (event.type === "loading" ? [event.step] : []));
const ends = (frames: AgentFrame[]) => frames.flatMap((it) => (it.type === "done" ? [it.metering.model] : []));

describe("a worker with two models", () => {
  it("that both fit loads both at the start", async () => {
    const end = start({ memoryLimitBytes: 3 * neededBytes });
    const side = await pool.connection();
    const { manifest } = await side.welcome();
    expect(manifest.models.map(({ name, slots, contextTokens }) => [name, slots, contextTokens])).toEqual([
      ["red", 2, 256],
      ["blue", 2, 256],
    ]);
    await side.next("ready");
    ask(side, "blue");
    ask(side, "red");
    const frames = [...(await side.until("done")), ...(await side.until("done"))];
    expect(ends(frames).sort()).toEqual(["blue", "red"]);
    drain.abort();
    expect(await end).toMatchObject({ code: "drained" });
    expect(events.filter(({ type }) => type === "model")).toMatchObject([{ loaded: true }, { loaded: true }]);
    expect(steps().join()).not.toContain("unloading");
  });

  it("reports each model's context and the reason if it is smaller than --context", async () => {
    const end = start({ contextTokens: 999_999, memoryLimitBytes: 20 * neededBytes });
    await pool.welcomed();
    drain.abort();
    await end;
    const warnings = events.flatMap((event) => (event.type === "warning" ? [event.message] : []));
    expect(warnings).toEqual(
      ["red", "blue"].map((name) => expect.stringMatching(`999999: ${name} was trained for at most \\d+ tokens`)),
    );
  });

  it("of which one fits offers both and loads the one that a job needs", async () => {
    const end = start({ memoryLimitBytes: 1.5 * neededBytes });
    const side = await pool.connection();
    // Frames of a job are sent well within its lease, even while its model is being loaded.
    const { manifest } = await side.welcome({ leaseMs: 30 });
    expect(manifest.models.map(({ name }) => name)).toEqual(["red", "blue"]);
    await side.next("ready");
    for (const model of ["blue", "red"]) {
      ask(side, model);
      const frames = await side.until("done");
      expect(ends(frames)).toEqual([model]);
      // More than the one frame for the accepted prompt: some were sent while the model was being loaded.
      expect(frames.filter(({ type }) => type === "progress").length).toBeGreaterThan(1);
    }
    drain.abort();
    expect(await end).toMatchObject({ code: "drained" });
    expect(steps().filter((step) => step.startsWith("unloading"))).toEqual([
      "unloading red to make room for blue",
      "unloading blue to make room for red",
    ]);
    expect(events.filter(({ type }) => type === "model").slice(0, 2)).toMatchObject([
      { name: "red", loaded: true, threads: expect.any(Number) },
      { name: "blue", loaded: false, threads: null },
    ]);
  });

  it("of which one fits finishes running jobs before it unloads their model", async () => {
    const end = start({ memoryLimitBytes: 1.5 * neededBytes });
    const side = await pool.welcomed();
    ask(side, "red", 200);
    ask(side, "red", 200);
    ask(side, "blue");
    ask(side, "blue");
    const frames: AgentFrame[] = [];
    for (let i = 0; i < 4; i++) frames.push(...(await side.until("done")));
    expect(ends(frames)).toEqual(["red", "red", "blue", "blue"]);
    expect(frames.some(({ type }) => type === "failed")).toBe(false);
    drain.abort();
    await end;
    expect(steps().filter((step) => step.startsWith("unloading"))).toHaveLength(1);
  });

  it("fails jobs of a model that cannot be loaded as retryable, and keeps serving the other", async () => {
    const broken = join(folder, "broken.gguf");
    await copyFile(EMBEDDED_MODEL.path, broken);
    const end = start({ models: [red, broken], memoryLimitBytes: 1.5 * neededBytes });
    const side = await pool.welcomed();
    const file = await open(broken, "r+");
    await file.truncate((await stat(broken)).size / 2);
    await file.close();
    ask(side, "broken");
    const failed = (await side.until("failed")).at(-1);
    expect(failed).toMatchObject({ code: "inference/engine-failed", retryable: true });
    ask(side, "red");
    expect(ends(await side.until("done"))).toEqual(["red"]);
    drain.abort();
    await end;
    expect(events).toContainEqual({
      type: "warning",
      message: expect.stringMatching(/broken\.gguf is damaged, or was not downloaded whole/),
    });
  });

  it.each<[what: string, options: () => Partial<AgentOptions>, code: AgentOutcome["code"], message: RegExp]>([
    [
      "larger than the limit",
      () => ({ memoryLimitBytes: 1_000_000 }),
      "usage",
      /red needs about .*--memory-limit allows/,
    ],
    ["of one name", () => ({ models: [red, red] }), "usage", /Two models have the name red/],
    ["that are no models", () => ({ models: [red, import.meta.filename] }), "failed", /not a GGUF file/],
    ["that are damaged", () => ({ models: [join(folder, "damaged.gguf"), red] }), "failed", /damaged\.gguf is damaged/],
    ["more than a worker offers", () => ({ models: Array(33).fill(red) }), "usage", /at most 32 models/],
  ])("does not start with models %s and says what to do", async (_what, options, code, message) => {
    await writeFile(join(folder, "damaged.gguf"), (await readFile(EMBEDDED_MODEL.path)).subarray(0, 1_000));
    expect(await start(options())).toEqual({ code, message: expect.stringMatching(message) });
  });
});

describe("a worker with a model from the hub", () => {
  let hub: HubDouble;
  beforeAll(async () => {
    hub = await HubDouble.listen();
    process.env.HF_ENDPOINT = hub.url;
  });
  afterAll(() => {
    delete process.env.HF_ENDPOINT;
    hub.close();
  });

  it("downloads it, reports progress and serves it under its name", async () => {
    hub.quants.set("acme/Tiny-GGUF:Q8_0", "Tiny-Q8_0.gguf");
    hub.files.push({ at: "acme/Tiny-GGUF/Tiny-Q8_0.gguf", bytes: await readFile(EMBEDDED_MODEL.path) });
    const end = start({ models: ["hf:acme/Tiny-GGUF:Q8_0"], modelsDir: join(folder, "hub") });
    const side = await pool.connection();
    expect((await side.welcome()).manifest.models).toMatchObject([{ name: "Tiny-Q8_0" }]);
    drain.abort();
    await end;
    expect(events.filter(({ type }) => type === "downloading").length).toBeGreaterThan(1);
  });

  it("says what to do without a network", async () => {
    process.env.HF_ENDPOINT = "http://127.0.0.1:9";
    const outcome = await start({ models: ["hf:acme/Other:Q8_0"] });
    expect(outcome).toMatchObject({ code: "failed", message: expect.stringMatching(/Could not reach.*PATH\.gguf/) });
  });
});

describe("turns", () => {
  /** Models under the control of the test, which looks only at the order of the jobs. */
  const hosted = (name: string, engine: SteeredEngine): HostedModel & { loads: number } => ({
    offer: { name, sha256: null, slots: 2, contextTokens: 100, kinds: ["chat"] },
    bytes: 6,
    loads: 0,
    async load() {
      this.loads++;
      return { ok: true, engine };
    },
  });
  const job = (model: string): GenerationJob => ({ ...chat("?"), model });

  async function host() {
    const engines = { a: new SteeredEngine(), b: new SteeredEngine() };
    const models = [hosted("a", engines.a), hosted("b", engines.b)];
    const made = new ModelHost({
      models,
      limitBytes: 10,
      onStep: () => {},
      onWarning: () => {},
      releaseRuntime: async () => {},
    });
    await made.preload(new AbortController().signal);
    const run = async (model: string, signal = new AbortController().signal) => {
      for await (const event of made.generate(job(model), signal)) if (event.type === "end") return "end";
      return "none";
    };
    return { made, engines, run };
  }

  it("a busy model cannot block another: later jobs wait behind waiting ones", async () => {
    const { made, engines, run } = await host();
    const first = run("a");
    const running = await engines.a.nextRun();
    const other = run("b");
    const late = run("a");
    expect(engines.a.runs).toHaveLength(1);
    running.end(1);
    await first;
    (await engines.b.nextRun()).end(1);
    expect(await other).toBe("end");
    (await engines.a.nextRun()).end(1);
    expect(await late).toBe("end");
    expect(made.loaded()).toEqual(["a"]);
    await made.dispose();
  });

  it("a job that is aborted while it waits blocks no other job", async () => {
    const { made, engines, run } = await host();
    const first = run("a");
    const running = await engines.a.nextRun();
    const abort = new AbortController();
    const given = run("b", abort.signal);
    const late = run("a");
    abort.abort();
    expect(await given).toBe("none");
    while (engines.a.runs.length < 2) await new Promise(setImmediate);
    for (const each of [...engines.a.runs]) each.end(1);
    expect([await first, await late]).toEqual(["end", "end"]);
    expect(made.loaded()).toEqual(["a"]);
    expect(running.pulled).toBe(1);
    await made.dispose();
  });

  it("a model that cannot be unloaded does not block the others", async () => {
    const { made, engines, run } = await host();
    engines.a.dispose = () => Promise.reject(new Error("stuck"));
    const other = run("b");
    (await engines.b.nextRun()).end(1);
    expect(await other).toBe("end");
    expect(made.loaded()).toEqual(["b"]);
    await made.dispose();
  });

  it("waiting jobs end when the host is closed", async () => {
    const { made, engines, run } = await host();
    const abort = new AbortController();
    const first = run("a", abort.signal);
    await engines.a.nextRun();
    const waiting = run("b");
    const disposed = made.dispose();
    expect(await waiting).toBe("none");
    abort.abort();
    await Promise.all([first, disposed]);
  });
});
