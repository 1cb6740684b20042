import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { utf8 } from "../../schema/crypto/bytes.ts";
import { canonicalBytes } from "../../schema/crypto/canonical.ts";
import { generateSecretKey, signerFrom } from "../../schema/crypto/ed25519.ts";
import { sha256Hex } from "../../schema/crypto/hash.ts";
import { ERRORS } from "../../schema/wire/errors.ts";
import { CLOSE, LIMITS } from "../../schema/wire/limits.ts";
import type { AgentFrame, JobFrame } from "../../schema/wire/worker-frames.ts";
import { type AgentEvent, formatEvent } from "../../worker-agent/events.ts";
import { type BackoffRange, RECONNECT } from "../../worker-agent/session/backoff-rules.ts";
import { Counters } from "../../worker-agent/session/counters.ts";
import { workerSocketUrl } from "../../worker-agent/session/pool-url.ts";
import { type ServiceEnd, serve } from "../../worker-agent/session/reconnect.ts";
import { STOPPED } from "../../worker-agent/session/refusal.ts";
import { meteringHolds } from "../unit/crypto/metering-verdict.ts";
import { PoolDouble } from "./pool-double.ts";
import { SteeredEngine, type SteeredRun } from "./steered-engine.ts";

let pool: PoolDouble;
let engine: SteeredEngine;
let counters: Counters;
let drain: AbortController;
let events: AgentEvent[];
let onEvent: () => void;

beforeEach(async () => {
  pool = await PoolDouble.listen();
  engine = new SteeredEngine();
  counters = new Counters();
  engine.meter = counters;
  drain = new AbortController();
  events = [];
  onEvent = () => {};
});
afterEach(() => {
  drain.abort();
  pool.close();
});

const SHORT: BackoffRange = { minMs: 1, youngMaxMs: 5, maxMs: 5 };

async function startWorker(
  about: { token?: string; pool?: string; drainMs?: number; range?: BackoffRange } = {},
): Promise<ServiceEnd> {
  const address = workerSocketUrl(pool.url);
  if (!address.ok) throw new Error(address.message);
  return serve({
    url: address.url,
    token: about.token ?? pool.token,
    pool: about.pool ?? pool.atomId,
    signer: await signerFrom(generateSecretKey()),
    engine,
    counters,
    drain: drain.signal,
    drainMs: about.drainMs ?? 30_000,
    onEvent: (event) => {
      events.push(event);
      onEvent();
    },
    nowMs: Date.now,
    random: () => 0,
    range: about.range ?? SHORT,
  });
}

const job = (
  about: { lease?: number; stream?: boolean; jobId?: string; model?: string; topLogprobs?: number } = {},
): JobFrame => ({
  type: "job",
  jobId: about.jobId ?? randomUUID(),
  lease: about.lease ?? 1,
  model: about.model ?? "steered",
  kind: "chat",
  request: {
    messages: [{ role: "user", content: "Grüße 😀" }],
    stream: about.stream ?? true,
    ...(about.topLogprobs !== undefined && { topLogprobs: about.topLogprobs }),
  },
  deadlineMs: Date.now() + 60_000,
});

/** Waits until the worker has disconnected that many times. */
async function disconnected(times: number): Promise<void> {
  while (events.filter(({ type }) => type === "disconnected").length < times) {
    await new Promise<void>((resolve) => {
      onEvent = resolve;
    });
  }
}

const PIECE = "x".repeat(16 * 1024);

/** Gives a run more text than all buffers on the way hold, and waits until no more of it is read. */
async function stalled(run: SteeredRun, pieces: number): Promise<void> {
  run.text(...Array.from({ length: pieces }, () => PIECE));
  let before = -1;
  for (let quietTurns = 0; quietTurns < 500; ) {
    quietTurns = run.pulled === before ? quietTurns + 1 : 0;
    before = run.pulled;
    await new Promise(setImmediate);
  }
}

const accepted = { type: "accepted", promptTokens: 3 } as const;
const textOf = (frames: AgentFrame[]) => frames.map((frame) => (frame.type === "delta" ? frame.text : "")).join("");

describe("the handshake", () => {
  it("proves token, key and manifest, and then offers every slot", async () => {
    void startWorker();
    const side = await pool.connection();
    const hello = await side.welcome();
    expect(side.authorization).toBe(`Bearer ${pool.token}`);
    expect(side.socket.protocol).toBe("ligand.worker.v1.2");
    expect(hello.manifest.models).toEqual(engine.models());
    expect(await side.next("ready")).toEqual({ type: "ready", received: 0, slots: [{ model: "steered", free: 2 }] });
  });

  it.each([
    ["ligand.worker.v1.2", { code: "inference/worker-busy", retryAfterSeconds: 9 }],
    ["ligand.worker.v1.1", { code: "inference/worker-busy", retryAfterSeconds: 9 }],
    ["ligand.worker.v1", { code: "inference/engine-failed" }],
  ])("speaks the pool's version: by %s a busy engine is reported as %j", async (subprotocol, reported) => {
    pool.speaks = subprotocol;
    void startWorker();
    const side = await pool.welcomed();
    expect(side.socket.protocol).toBe(subprotocol);
    const { jobId, lease } = job();
    side.send(job({ jobId, lease }));
    const busy = { code: "inference/worker-busy", message: "busy", retryable: true, retryAfterSeconds: 9 } as const;
    (await engine.nextRun()).emit({ type: "failed", ...busy });
    expect(await side.next("failed")).toEqual({
      type: "failed",
      jobId,
      lease,
      message: "busy",
      retryable: true,
      ...reported,
    });
  });

  it.each([
    ["ligand.worker.v1.2", true],
    ["ligand.worker.v1.1", true],
    ["ligand.worker.v1", undefined],
  ])("knows whether the pool reports requests for other models: by %s %s", async (subprotocol, tellsElsewhere) => {
    pool.speaks = subprotocol;
    void startWorker();
    const side = await pool.welcomed();
    expect(events.find(({ type }) => type === "connected")).toMatchObject(tellsElsewhere ? { tellsElsewhere } : {});
    side.send({ type: "elsewhere", jobs: 3 });
    side.send(job());
    await engine.nextRun();
    expect(events).toContainEqual({ type: "jobs-elsewhere", jobs: 3 });
  });

  it("stops at a pool that is not the token's pool, and sends it no proof", async () => {
    const other = await PoolDouble.listen();
    const end = startWorker({ token: other.token, pool: other.atomId });
    const side = await pool.connection();
    side.send({ type: "challenge", nonce: "00".repeat(32), pool: pool.atomId });
    expect(await end).toMatchObject({ type: "stopped", code: "wrong-pool" });
    expect(await side.frame()).toBeNull();
    other.close();
  });

  it.each([
    [CLOSE.tokenRefused, "token-refused"],
    [CLOSE.tokenExpired, "token-expired"],
    [CLOSE.protocolTooOld, "protocol-too-old"],
  ])("stops for good when closed with %i", async (code, want) => {
    const end = startWorker();
    (await pool.welcomed()).socket.close(code);
    expect(await end).toMatchObject({ type: "stopped", code: want });
  });

  it.each([
    ["token_refused", 401, "token-refused"],
    ["token_expired", 403, "token-expired"],
  ] as const)(
    "stops for good when the pool refuses the upgrade with %s, as after a close code",
    async (code, status, want) => {
      pool.refuseWith = { status, body: JSON.stringify({ error: { message: "Ask for a new one.", code } }) };
      const byStatus = await startWorker();
      expect(byStatus).toEqual({ type: "stopped", code: want, message: STOPPED[want] });
      pool.refuseWith = null;
      const end = startWorker();
      const close = want === "token-refused" ? CLOSE.tokenRefused : CLOSE.tokenExpired;
      (await pool.welcomed()).socket.close(close);
      expect(await end).toEqual(byStatus);
    },
  );

  it("waits as long as the pool asks, if it connected too often", async () => {
    const error = { message: "Too often.", code: ERRORS["workers/connects-too-often"].openAiCode };
    pool.refuseWith = { status: 429, body: JSON.stringify({ error }), headers: { "retry-after": "9" } };
    void startWorker({ range: RECONNECT });
    await disconnected(1);
    const lost = { type: "disconnected", reason: "the pool answered 429: Too often.", retryInMs: 9_000 };
    expect(events.at(-1)).toEqual(lost);
  });

  it.each([
    [401, "<html>Sign in to this network</html>"],
    [403, JSON.stringify({ error: { message: "Forbidden.", code: "waf_rule" } })],
    [403, JSON.stringify({ error: "token_expired" })],
  ])("tries again after a %i that is not the pool's own: %s", async (status, body) => {
    pool.refuseWith = { status, body };
    void startWorker();
    await disconnected(2);
    pool.refuseWith = null;
    await pool.welcomed();
  });

  it("tries again while the pool cannot accept it", async () => {
    pool.refuseWith = { status: 503, body: "" };
    void startWorker();
    await disconnected(3);
    pool.refuseWith = null;
    await pool.welcomed();
  });
});

describe("a job", () => {
  it("that streams is answered by progress, numbered deltas and a signed record", async () => {
    void startWorker();
    const side = await pool.welcomed();
    const one = job({ lease: 7 });
    side.send(one);
    const run = await engine.nextRun();
    run.emit(accepted);
    expect(await side.next("progress")).toEqual({ type: "progress", jobId: one.jobId, lease: 7 });
    run.text("Hal", "lo ", "Wört", "er 😀");
    run.end(4);
    const frames = await side.until("done");
    expect(textOf(frames)).toBe("Hallo Wörter 😀");
    const deltas = frames.filter((frame) => frame.type === "delta");
    expect(deltas.map(({ seq }) => seq)).toEqual(deltas.map((_, index) => index));
    expect(deltas.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(4);

    const done = frames.at(-1);
    if (done?.type !== "done") throw new Error("no done");
    expect(done).toMatchObject({ lease: 7, finishReason: "stop", usage: { promptTokens: 3, completionTokens: 4 } });
    expect(done).not.toHaveProperty("text");
    expect(done.metering).toMatchObject({
      job_id: one.jobId,
      pool: pool.atomId,
      worker: side.worker,
      model: "steered",
      model_sha256: null,
      prompt_tokens: 3,
      completion_tokens: 4,
      finish_reason: "stop",
      request_sha256: await sha256Hex(canonicalBytes(one.request)),
      response_sha256: await sha256Hex(utf8("Hallo Wörter 😀")),
    });
    expect(await meteringHolds(done.metering, done.meteringSignature, side.publicKey)).toBe(true);
    expect(await side.next("ready")).toMatchObject({ received: 1, slots: [{ free: 2 }] });
  });

  it("that does not stream is answered by its whole text", async () => {
    void startWorker();
    const side = await pool.welcomed();
    side.send(job({ stream: false }));
    const run = await engine.nextRun();
    run.emit(accepted);
    run.text("all ", "of ", "it");
    run.end(3);
    expect(await side.next("done")).toMatchObject({ text: "all of it" });
  });

  it.each([
    ["streamed", true],
    ["whole", false],
  ])("sends log probabilities before the text of their tokens: %s", async (_what, stream) => {
    void startWorker();
    const side = await pool.welcomed();
    side.send(job({ stream, topLogprobs: 0 }));
    const run = await engine.nextRun();
    run.emit(accepted);
    const tokens = Array.from({ length: LIMITS.logprobsPerFrame + 2 }, (_, i) => `t${i} `);
    for (const token of tokens) {
      run.emit({ type: "text", text: token, tokens: 1, logprobs: [{ token, logprob: -1, top: [] }] });
    }
    run.end(tokens.length);
    const frames = await side.until("done");
    let streamed = "";
    let text = "";
    for (const frame of frames) {
      if (frame.type === "logprobs") streamed += frame.tokens.map(({ token }) => token).join("");
      if (frame.type === "delta") text += frame.text;
      if (frame.type === "done") text += frame.text ?? "";
      expect(streamed.startsWith(text)).toBe(true);
    }
    expect([streamed, text]).toEqual([tokens.join(""), tokens.join("")]);
  });

  it("sends its first text immediately", async () => {
    void startWorker();
    const side = await pool.welcomed();
    side.send(job());
    const run = await engine.nextRun();
    run.emit(accepted);
    run.text("first");
    await side.next("progress");
    expect(await side.next("delta")).toMatchObject({ seq: 0, text: "first", tokens: 1 });
  });

  it("that fails gives the client the full reason, and shows the owner no text of the request", async () => {
    void startWorker();
    const side = await pool.welcomed();
    side.send(job());
    const failure = { code: "http/unsupported-parameter", retryable: false, param: "tools" } as const;
    const message = "The upstream server does not take this request.";
    (await engine.nextRun()).emit({ type: "failed", ...failure, message, quoted: "xylophone quartz" });
    expect(await side.next("failed")).toMatchObject({
      ...failure,
      message: "The upstream server does not take this request: xylophone quartz",
    });
    await side.next("ready");
    const loggedFailure = events.find(({ type }) => type === "job-failed");
    expect(loggedFailure).toMatchObject({ code: failure.code, reason: message });
    expect(loggedFailure && formatEvent(loggedFailure)).toMatch(
      /^Job [\w-]+ \(steered\) failed: http\/unsupported-parameter\. The upstream server does not take this request\.$/,
    );
  });

  it("that the engine refuses is failed with its code, before any text", async () => {
    void startWorker();
    const side = await pool.welcomed();
    side.send(job());
    const failure = { code: "inference/context-length-exceeded", message: "too long", retryable: false } as const;
    (await engine.nextRun()).emit({ type: "failed", ...failure });
    expect(await side.next("failed")).toMatchObject(failure);
    expect(await side.next("ready")).toMatchObject({ received: 1, slots: [{ free: 2 }] });
  });

  it("sends progress while the engine produces nothing", async () => {
    void startWorker();
    const side = await pool.welcomed({ leaseMs: 30 });
    side.send(job({ stream: false }));
    await engine.nextRun();
    for (let i = 0; i < 3; i++) await side.next("progress");
  });

  it("without a free slot is given back to the pool", async () => {
    void startWorker();
    const side = await pool.welcomed();
    for (const lease of [1, 2, 3]) side.send(job({ lease }));
    expect(await side.next("failed")).toMatchObject({ lease: 3, retryable: true });
    expect(await side.next("ready")).toMatchObject({ received: 3, slots: [{ free: 0 }] });
  });

  it.each(["cancel", "rejected"] as const)(
    "ends silently at %s, and frees its slot when it has stopped",
    async (type) => {
      void startWorker();
      const side = await pool.welcomed();
      const one = job();
      side.send(one);
      const run = await engine.nextRun();
      run.emit(accepted);
      run.text("some");
      await side.next("progress");
      await side.next("delta");
      expect(counters.values.activeGenerations).toBe(1);
      side.send({ type, jobId: one.jobId, lease: one.lease });
      await run.ended;
      expect(counters.values).toMatchObject({ activeGenerations: 0 });
      // The next frame must be the offer of the slot: no frame of the job comes before it.
      expect(await side.next("ready")).toMatchObject({ received: 1, slots: [{ free: 2 }] });
      expect(counters.values).toMatchObject({ jobsCancelled: 1, jobsDone: 0 });
    },
  );

  it("sends nothing after its cancel, even if the engine stops late", async () => {
    void startWorker();
    const side = await pool.welcomed({ leaseMs: 6, heartbeatMs: 100 });
    const one = job();
    side.send(one);
    const run = await engine.nextRun();
    run.stubborn = true;
    run.emit(accepted);
    run.text("first", "held back to be joined with more");
    await side.until("delta");
    side.send({ type: "cancel", jobId: one.jobId, lease: one.lease });
    side.send({ ...one, lease: 2 });
    await side.until("progress");
    // Deltas and progress of the first lease would have been due many times by now.
    for (let pings = 0; pings < 5; pings++) await side.ping();
    run.release();
    await run.ended;
    const second = await engine.nextRun();
    second.emit(accepted);
    second.end(0);
    for (const frame of await side.until("done")) expect(frame).not.toMatchObject({ lease: one.lease });
  });

  it("continues when an older lease of it is cancelled", async () => {
    void startWorker();
    const side = await pool.welcomed();
    const one = job({ lease: 5 });
    side.send(one);
    side.send({ type: "cancel", jobId: one.jobId, lease: 4 });
    const run = await engine.nextRun();
    run.emit(accepted);
    run.end(0);
    await side.next("progress");
    expect(await side.next("done")).toMatchObject({ lease: 5 });
  });

  it("pauses its engine while the pool does not read", async () => {
    void startWorker();
    const side = await pool.welcomed();
    const one = job();
    side.send(one);
    const run = await engine.nextRun();
    run.emit(accepted);
    await side.next("progress");
    side.socket.pause();
    const pieces = 2_000;
    await stalled(run, pieces);
    expect(run.pulled).toBeLessThan(pieces);

    expect(counters.values.activeGenerations).toBe(1);
    side.socket.resume();
    run.end(pieces);
    expect(textOf(await side.until("done"))).toHaveLength(pieces * PIECE.length);
  });
});

describe("a job while the pool reads nothing", () => {
  it("ends at its cancel, although nothing can be sent", async () => {
    void startWorker();
    const side = await pool.welcomed();
    const one = job();
    side.send(one);
    const run = await engine.nextRun();
    run.emit(accepted);
    await side.next("progress");
    side.socket.pause();
    await stalled(run, 2_000);
    side.send({ type: "cancel", jobId: one.jobId, lease: one.lease });
    await run.ended;
    expect(counters.values.activeGenerations).toBe(0);
  });
});

describe("the socket", () => {
  it("is opened again after a restart, when all runs have stopped", async () => {
    void startWorker();
    const side = await pool.welcomed();
    side.send(job());
    const run = await engine.nextRun();
    side.socket.close(CLOSE.restarting);
    await run.ended;
    const again = await pool.welcomed();
    expect(again.worker).toBe(side.worker);
    expect(counters.values).toMatchObject({ connections: 2, activeGenerations: 0, jobsCancelled: 1 });
    expect(events).toContainEqual(expect.objectContaining({ type: "disconnected", reason: "the pool is restarting" }));
  });

  it("is closed when heartbeats stay unanswered", async () => {
    void startWorker();
    const side = await pool.connection();
    side.answersPing = false;
    await side.welcome({ heartbeatMs: 10 });
    await pool.welcomed();
    expect(events).toContainEqual(expect.objectContaining({ reason: "the pool stopped answering" }));
  });

  it("stays open while heartbeats are answered", async () => {
    void startWorker();
    const side = await pool.connection();
    // Longer than a busy machine's own pauses, which must not count as silence.
    await side.welcome({ heartbeatMs: 150 });
    for (let pings = 0; pings < 5; pings++) await side.ping();
    expect(events.filter(({ type }) => type === "disconnected")).toEqual([]);
  });

  it.each([
    ["not JSON", "{"],
    ["an unknown type", JSON.stringify({ type: "surprise" })],
    ["an extra field", JSON.stringify({ type: "cancel", jobId: randomUUID(), lease: 1, extra: 1 })],
    ["a frame out of turn", JSON.stringify({ type: "challenge", nonce: "00".repeat(32), pool: "00".repeat(32) })],
  ])("is closed with 1008 at %s, and is opened again", async (_what, text) => {
    void startWorker();
    const side = await pool.welcomed();
    side.socket.send(text);
    expect(await side.closed).toEqual({ code: CLOSE.policyViolation });
    await pool.welcomed();
  });
});

describe("a drain", () => {
  it("ends immediately when nothing is leased", async () => {
    const end = startWorker();
    const side = await pool.welcomed();
    drain.abort();
    await side.next("drain");
    expect(await side.closed).toEqual({ code: CLOSE.normal });
    expect(await end).toEqual({ type: "drained", unfinished: 0 });
  });

  it("finishes the leased jobs, and accepts no more", async () => {
    const end = startWorker();
    const side = await pool.welcomed();
    side.send(job({ lease: 1 }));
    const run = await engine.nextRun();
    run.emit(accepted);
    await side.next("progress");
    drain.abort();
    await side.next("drain");
    side.send(job({ lease: 2 }));
    expect(await side.next("failed")).toMatchObject({ lease: 2, retryable: true });
    run.text("the end");
    run.end(1);
    expect(textOf(await side.until("done"))).toBe("the end");
    expect(await end).toEqual({ type: "drained", unfinished: 0 });
  });

  it("ends after its time limit", async () => {
    const end = startWorker({ drainMs: 20 });
    const side = await pool.welcomed();
    side.send(job());
    const run = await engine.nextRun();
    drain.abort();
    expect(await end).toEqual({ type: "drained", unfinished: 1 });
    await run.ended;
  });

  it("ends a worker that waits to connect again", async () => {
    pool.refuseWith = { status: 503, body: "" };
    const end = startWorker();
    await disconnected(1);
    drain.abort();
    expect(await end).toMatchObject({ type: "drained" });
  });
});
