import { randomUUID } from "node:crypto";
import { chmod, mkdir, readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import type { AgentFrame } from "../../schema/wire/worker-frames.ts";
import { type AgentOptions, type AgentOutcome, runAgent } from "../../worker-agent/agent.ts";
import { type AgentEvent, formatEvent } from "../../worker-agent/events.ts";
import { EXIT_CODES } from "../../worker-agent/exit-codes.ts";
import { EMBEDDED_MODEL } from "../../worker-agent/models/embedded.ts";
import { findModel, modelName } from "../../worker-agent/models/model-file.ts";
import packageJson from "../../worker-agent/package.json" with { type: "json" };
import { workerSocketUrl } from "../../worker-agent/session/pool-url.ts";
import type { AgentStatus } from "../../worker-agent/state/status-file.ts";
import { AGENT_VERSION } from "../../worker-agent/version.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { meteringHolds } from "../unit/crypto/metering-verdict.ts";
import { PoolDouble, type PoolSide } from "./pool-double.ts";

let pool: PoolDouble;
let stateDir: string;
let drain: AbortController;
let events: AgentEvent[];

beforeEach(async () => {
  pool = await PoolDouble.listen();
  stateDir = join(temporaryFolder(), "state");
  drain = new AbortController();
  events = [];
});
afterEach(() => {
  drain.abort();
  pool.close();
});

const start = (options: Partial<AgentOptions> = {}): Promise<AgentOutcome> => {
  void pool.probed();
  return runAgent({
    poolUrl: pool.url,
    token: pool.token,
    stateDir,
    gpu: false,
    onEvent: (event) => events.push(event),
    signal: drain.signal,
    reconnect: { minMs: 1, youngMaxMs: 5, maxMs: 5 },
    ...options,
  });
};

const readStatus = async (): Promise<AgentStatus> => JSON.parse(await readFile(join(stateDir, "status.json"), "utf8"));

const ask = (side: PoolSide, request: object): string => {
  const jobId = randomUUID();
  const messages = [{ role: "user" as const, content: "What is Ligand?" }];
  const common = { type: "job", jobId, lease: 1, model: EMBEDDED_MODEL.name, kind: "chat" } as const;
  side.send({ ...common, request: { messages, stream: true, ...request }, deadlineMs: Date.now() + 60_000 });
  return jobId;
};

const textOf = (frames: AgentFrame[]) => frames.map((frame) => (frame.type === "delta" ? frame.text : "")).join("");

describe("a worker", () => {
  it("loads, connects, answers with the embedded model, shows what it did, and drains", async () => {
    const end = start();
    const side = await pool.connection();
    const hello = await side.welcome();
    const { sha256 } = hello.manifest.models[0] ?? {};
    expect(hello.manifest).toMatchObject({ engine: "llama", agentVersion: AGENT_VERSION, worker: side.worker });
    expect(sha256).toBe(await sha256Hex(await readFile(EMBEDDED_MODEL.path)));
    expect(await side.next("ready")).toMatchObject({ slots: [{ model: EMBEDDED_MODEL.name, free: 4 }] });

    ask(side, {});
    const frames = await side.until("done");
    expect(frames[0]).toMatchObject({ type: "progress" });
    const done = frames.at(-1);
    if (done?.type !== "done") throw new Error("no done");
    expect(textOf(frames)).not.toBe("");
    expect(await meteringHolds(done.metering, done.meteringSignature, side.publicKey)).toBe(true);
    expect(done.metering).toMatchObject({ model_sha256: sha256, worker: side.worker, pool: pool.atomId });
    await side.next("ready");

    drain.abort();
    await side.next("drain");
    expect(await end).toMatchObject({ code: "drained" });
    const status = await readStatus();
    expect(status).toMatchObject({ v: 1, pid: process.pid, state: "stopped", connected: false, worker: side.worker });
    expect(status.counters).toMatchObject({ jobsStarted: 1, jobsDone: 1, jobsFailed: 0, activeGenerations: 0 });
    expect(status.counters.tokensGenerated).toBeGreaterThanOrEqual(done.usage.completionTokens);

    const types = events.map(({ type }) => type);
    for (const type of [
      "loading",
      "calibrated",
      "model",
      "connecting",
      "connected",
      "job-done",
      "draining",
      "stopped",
    ]) {
      expect(types).toContain(type);
    }
    const output = events.map(formatEvent).join("\n") + JSON.stringify(events) + JSON.stringify(status);
    expect(output).not.toContain(pool.token);
    expect(output).not.toContain("What is");
    expect(output).not.toContain((await readFile(join(stateDir, "agent.key"), "utf8")).trim());
  });

  it("keeps its worker id at the next start, and does not measure again", async () => {
    const first = start();
    const before = await pool.welcomed();
    drain.abort();
    await first;

    drain = new AbortController();
    events = [];
    const second = start();
    const after = await pool.welcomed();
    expect(after.worker).toBe(before.worker);
    drain.abort();
    await second;
    expect(events).toContainEqual(expect.objectContaining({ type: "calibrated", cached: true }));
  });

  it("warns if the context is smaller than --context, and says why", async () => {
    const end = start({ contextTokens: 999_999 });
    const side = await pool.connection();
    const { contextTokens } = (await side.welcome()).manifest.models[0] ?? {};
    const message = `Jobs get ${contextTokens} tokens instead of --context 999999: ${EMBEDDED_MODEL.name} was trained for at most ${contextTokens} tokens.`;
    drain.abort();
    await end;
    expect(events.filter(({ type }) => type === "warning")).toEqual([{ type: "warning", message }]);
  });

  it("keeps its files private", async () => {
    const end = start();
    await pool.welcomed();
    drain.abort();
    await end;
    expect((await stat(stateDir)).mode & 0o777).toBe(0o700);
    const files = await readdir(stateDir);
    expect(files.sort()).toEqual([
      ".gitignore",
      "agent.key",
      "calibration.json",
      "lock",
      "model-hashes.json",
      "status.json",
    ]);
    expect(await readdir(join(stateDir, "lock"))).toEqual([]);
    for (const file of files.filter((name) => name !== "lock"))
      expect((await stat(join(stateDir, file))).mode & 0o777, file).toBe(0o600);
  });

  it("refuses a second agent in its folder, and names the first, which keeps running", async () => {
    const end = start();
    const side = await pool.welcomed();
    expect(await start()).toEqual({
      code: "failed",
      message: expect.stringMatching(new RegExp(`in use by a worker: pid ${process.pid}, since 20.*--state`)),
    });
    const jobId = ask(side, { maxTokens: 1 });
    expect((await side.until("done")).at(-1)).toMatchObject({ jobId });
    drain.abort();
    await end;
  });

  it("stops generating for a cancelled job, as its status shows", async () => {
    const end = start();
    const side = await pool.welcomed();
    // Long enough that the prompt is still being read when the cancel arrives.
    const jobId = ask(side, { messages: [{ role: "user", content: "pool ".repeat(400) }] });
    await side.next("progress");
    side.send({ type: "cancel", jobId, lease: 1 });
    expect(await side.next("ready")).toMatchObject({ received: 1, slots: [{ free: 4 }] });
    drain.abort();
    await end;
    expect((await readStatus()).counters).toMatchObject({ jobsCancelled: 1, jobsDone: 0, activeGenerations: 0 });
  });
});

describe("a worker that cannot start says what to do", () => {
  it.each<[what: string, options: Partial<AgentOptions>, code: AgentOutcome["code"], words: RegExp]>([
    ["no token", { token: "secret" }, "usage", /worker token/],
    ["a client's key", { token: `lk_${"0".repeat(16)}_${"0".repeat(40)}_${"0".repeat(24)}` }, "usage", /worker token/],
    ["an invalid URL", { poolUrl: "pool" }, "usage", /https:/],
    ["an unencrypted connection", { poolUrl: "http://pool.example" }, "usage", /not be encrypted/],
    ["no slots", { slots: 0 }, "usage", /Slots/],
    [
      "a pool that does not answer",
      { poolUrl: "http://127.0.0.1:9" },
      "unreachable",
      /No pool answers at http:\/\/127\.0\.0\.1:9/,
    ],
    ["a missing model file", { models: ["/nowhere/model.gguf"] }, "failed", /no model file at .*GGUF/],
    ["a file that is not GGUF", { models: [import.meta.filename] }, "failed", /not a GGUF file/],
  ])("with %s", async (_what, options, code, words) => {
    const outcome = await start(options);
    expect(outcome.code).toBe(code);
    expect(outcome.message).toMatch(words);
    expect(outcome.message).not.toContain("secret");
    expect(events.at(-1)).toEqual({ type: "stopped", ...outcome });
  });

  it("with a folder that everyone may write", async () => {
    await mkdir(stateDir);
    await chmod(stateDir, 0o1777);
    const message = expect.stringContaining("everyone may write to it");
    expect(await start()).toMatchObject({ code: "failed", message });
  });

  it("with a damaged key, which it does not overwrite", async () => {
    await start({ models: ["/nowhere"] });
    await writeFile(join(stateDir, "agent.key"), "short");
    expect(await start()).toMatchObject({ code: "failed", message: expect.stringContaining("agent.key") });
    expect(await readFile(join(stateDir, "agent.key"), "utf8")).toBe("short");
  });

  it("with a separate exit code for each end that needs a person", () => {
    const { drained, failed, usage, ...needsPerson } = EXIT_CODES;
    expect([drained, failed, usage]).toEqual([0, 1, 2]);
    expect(needsPerson).toEqual({
      "token-refused": 3,
      "token-expired": 4,
      "protocol-too-old": 5,
      "wrong-pool": 6,
      unreachable: 6,
    });
  });
});

describe("the pool's address", () => {
  it.each<[pool: string, insecure: boolean, want: string | null]>([
    ["https://pool.example", false, "wss://pool.example/v1/workers/connect"],
    ["https://pool.example:8443/", false, "wss://pool.example:8443/v1/workers/connect"],
    ["wss://pool.example/under/", false, "wss://pool.example/under/v1/workers/connect"],
    ["http://127.0.0.1:8787", false, "ws://127.0.0.1:8787/v1/workers/connect"],
    ["http://localhost:1", false, "ws://localhost:1/v1/workers/connect"],
    ["http://[::1]:1", false, "ws://[::1]:1/v1/workers/connect"],
    ["http://127.0.0.1.example", false, null],
    ["http://192.168.0.2", false, null],
    ["http://192.168.0.2", true, "ws://192.168.0.2/v1/workers/connect"],
    ["https://user:secret@pool.example", false, null],
    ["ftp://pool.example", false, null],
    ["", false, null],
  ])("%j, insecure %s", (address, insecure, want) => {
    const url = workerSocketUrl(address, insecure);
    expect(url.ok ? url.url : null).toBe(want);
  });
});

describe("a model file", () => {
  it.each([
    ["/models/Llama-3.2-1B.Q8_0.gguf", "Llama-3.2-1B.Q8_0"],
    ["tiny.GGUF", "tiny"],
    ["noextension", "noextension"],
  ])("%s is called %s", (path, want) => expect(modelName(path)).toBe(want));

  it("is hashed again only if it has changed", async () => {
    const folder = temporaryFolder();
    const path = join(folder, "m.gguf");
    const cache = join(folder, "hashes.json");
    const at = new Date(1_700_000_000_000);
    const write = async (text: string, modified: Date) => {
      await writeFile(path, text);
      await utimes(path, modified, modified);
      const found = await findModel(path, cache);
      if (!found.ok) throw new Error(found.message);
      return found.file;
    };
    const first = await write("GGUF\x03\0\0\0one", at);
    expect(first).toEqual({ name: "m", path, sha256: await sha256Hex(new TextEncoder().encode("GGUF\x03\0\0\0one")) });
    // Size and time are unchanged, so the cache answers; this shows that the cache was used.
    expect(await write("GGUF\x03\0\0\0two", at)).toEqual(first);
    expect((await write("GGUF\x03\0\0\0two", new Date(at.getTime() + 1_000))).sha256).not.toBe(first.sha256);
  });
});

it("the agent's version is its package's", () => expect(AGENT_VERSION).toBe(packageJson.version));
