import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { runAgent } from "../../worker-agent/agent.ts";
import { type AgentEvent, levelOf, logRecord } from "../../worker-agent/events.ts";
import { formatDuration } from "../../worker-agent/format-duration.ts";
import { AgentState, initialStatus } from "../../worker-agent/state/agent-state.ts";
import { type IdleReason, idleReason } from "../../worker-agent/state/idle-reason-rules.ts";
import { type AgentStatus, agentStatus } from "../../worker-agent/state/status-file.ts";
import { nextStatus } from "../../worker-agent/state/status-machine.ts";
import { temporaryFolder } from "../temporary-folder.ts";
import { PoolDouble } from "./pool-double.ts";

const NOW_MS = 1_000_000;
const counters = {
  jobsStarted: 0,
  jobsDone: 0,
  jobsFailed: 0,
  jobsCancelled: 0,
  activeGenerations: 0,
  tokensGenerated: 0,
  promptTokensEvaluated: 0,
  connections: 0,
};

type StatusEvent = readonly [atMs: number, event: AgentEvent];
const statusAfter = (...events: readonly StatusEvent[]): AgentStatus => {
  const about = { poolUrl: "https://pool.example/p/?token=secret", pool: "a".repeat(64), worker: "b".repeat(64) };
  const story = events.reduce((so, [atMs, event]) => nextStatus(so, event, atMs), initialStatus(about, 0));
  return { ...story, updatedMs: NOW_MS, counters };
};

const model = (name: string, slots: number): AgentEvent => ({
  type: "model",
  name,
  sha256: null,
  slots,
  contextTokens: 64,
  threads: 1,
  backend: "cpu",
  loaded: true,
});
const connecting: StatusEvent = [1, { type: "connecting", url: "wss://pool.example" }];
const connected: StatusEvent = [2, { type: "connected", pool: "p", worker: "w" }];
const disconnected: StatusEvent = [3, { type: "disconnected", reason: "it rained", retryInMs: NOW_MS + 4_100 - 3 }];
const started = (atMs: number, name = "m"): StatusEvent => [atMs, { type: "job-started", jobId: "j", model: name }];
const done = (atMs: number, name = "m"): StatusEvent => [
  atMs,
  { type: "job-done", jobId: "j", model: name, ms: 5, promptTokens: 1, completionTokens: 1 },
];
const up: readonly StatusEvent[] = [[0, model("m", 2)], connecting, connected];
/** The events of a worker that is connected to a pool which reports requests for other models. */
const upAtTelling: readonly StatusEvent[] = [
  ...up,
  [2, { type: "connected", pool: "p", worker: "w", tellsElsewhere: true }],
];
const elsewhere = (atMs: number, jobs: number): StatusEvent => [atMs, { type: "jobs-elsewhere", jobs }];

describe("a status", () => {
  it("does not contain the query of the pool's URL", () => {
    expect(statusAfter().poolUrl).toBe("https://pool.example/p");
  });

  it("has the time of the connection only while it is connected", () => {
    expect(statusAfter(...up)).toMatchObject({ state: "connected", connected: true, connectedSinceMs: 2 });
    expect(statusAfter(...up, disconnected)).toMatchObject({
      state: "connecting",
      connected: false,
      connectedSinceMs: null,
      nextAttemptMs: NOW_MS + 4_100,
      lastDisconnect: { atMs: 3, reason: "it rained" },
    });
    expect(statusAfter(...up, disconnected, connecting).nextAttemptMs).toBeNull();
  });

  it("counts jobs by model, and has the last one", () => {
    const status = statusAfter(...up, [2, model("n", 1)], started(10), started(11), done(20));
    expect(status.models).toEqual([
      { name: "m", slots: 2, contextTokens: 64, active: 1, jobs: 2, lastJobMs: 20 },
      { name: "n", slots: 1, contextTokens: 64, active: 0, jobs: 0, lastJobMs: null },
    ]);
    expect(status.lastJob).toEqual({ model: "m", startedMs: 15, endedMs: 20, end: "done" });
  });

  it("keeps the counts of a model that is reloaded", () => {
    const status = statusAfter(...up, [2, model("n", 1)], started(10), [11, model("m", 4)]);
    expect(status.models.map(({ name, slots, jobs }) => ({ name, slots, jobs }))).toEqual([
      { name: "m", slots: 4, jobs: 1 },
      { name: "n", slots: 1, jobs: 0 },
    ]);
  });

  it("has the last refused job, and how the agent ended", () => {
    const refused: AgentEvent = { type: "job-refused", jobId: "j", model: "x", code: "c", message: "not here" };
    const stopped: AgentEvent = { type: "stopped", code: "token-refused", message: "no" };
    expect(statusAfter(...up, [7, refused], [8, stopped])).toMatchObject({
      state: "stopped",
      connected: false,
      lastRefusal: { atMs: 7, model: "x", message: "not here" },
      stopped: { code: "token-refused", message: "no" },
    });
  });

  it("keeps the last failed job and its reason after later jobs succeed", () => {
    const failed: AgentEvent = { type: "job-failed", jobId: "j", model: "m", ms: 5, code: "a/b", reason: "It rained." };
    const status = statusAfter(...up, started(10), [20, failed], started(21), done(30));
    expect(status).toMatchObject({
      lastFailure: { atMs: 20, model: "m", code: "a/b", message: "It rained." },
      lastJob: { end: "done" },
    });
    expect(agentStatus.strict().parse(JSON.parse(JSON.stringify(status)))).toEqual(status);
  });

  it("of an older release can be read", () => {
    const { lastFailure: _later, elsewhere: _too, ...older } = statusAfter(...up);
    expect(agentStatus.parse(older)).toEqual(statusAfter(...up));
  });

  it("has the persisted shape, also after a round trip through JSON", () => {
    const status = statusAfter(...up, started(10), done(20), disconnected);
    expect(agentStatus.strict().parse(JSON.parse(JSON.stringify(status)))).toEqual(status);
  });
});

it("the status of a real agent has the refused job, and onStatus gets what is written", async () => {
  const pool = await PoolDouble.listen();
  const stateDir = join(temporaryFolder(), "state");
  const drain = new AbortController();
  const shown: AgentStatus[] = [];
  const events: AgentEvent[] = [];
  const end = runAgent({
    poolUrl: pool.url,
    token: pool.token,
    stateDir,
    gpu: false,
    signal: drain.signal,
    onEvent: (event) => events.push(event),
    onStatus: (status) => shown.push(status),
  });
  await pool.probed();
  const side = await pool.welcomed();
  const request = { messages: [{ role: "user" as const, content: "?" }], stream: true };
  const named = { jobId: randomUUID(), lease: 1, model: "gpt-0" };
  side.send({ type: "job", kind: "chat", ...named, request, deadlineMs: Date.now() + 60_000 });
  await side.next("failed");
  drain.abort();
  await end;
  pool.close();
  expect(events).toContainEqual(expect.objectContaining({ type: "job-refused", model: "gpt-0" }));
  const status = agentStatus.parse(JSON.parse(await readFile(join(stateDir, "status.json"), "utf8")));
  expect(status).toMatchObject({
    lastRefusal: { model: "gpt-0", message: expect.stringContaining("does not have that model") },
    stopped: { code: "drained" },
    connectedSinceMs: null,
    lastJob: null,
  });
  expect(shown.at(-1)).toEqual(status);
});

describe("status.json and the log", () => {
  const about = { poolUrl: "http://127.0.0.1:1", pool: "a".repeat(64), worker: "b".repeat(64) };
  const connectingTo: AgentEvent = { type: "connecting", url: "ws://127.0.0.1:1/" };
  const failed = (n: number): AgentEvent => {
    return { type: "job-failed", jobId: `${n}`, model: "m", ms: 5, code: "a/b", reason: `failure ${n}` };
  };
  const jobs = (count: number) => Array.from({ length: count }, (_, n) => [started(0)[1], failed(n)]).flat();

  /** The agent's state. With each event of its log it keeps what the file held when the log got the event. */
  async function logged(stateDir: string) {
    const read = () => agentStatus.parse(JSON.parse(readFileSync(join(stateDir, "status.json"), "utf8")));
    const lines: { event: AgentEvent; onDisk: AgentStatus | null }[] = [];
    let onLine = () => {};
    const state = new AgentState({ ...about, stateDir }, (event) => {
      lines.push({ event, onDisk: existsSync(join(stateDir, "status.json")) ? read() : null });
      onLine();
    });
    const waitForEvent = async (type: AgentEvent["type"]) => {
      while (!lines.some(({ event }) => event.type === type)) {
        await new Promise<void>((resolve) => {
          onLine = resolve;
        });
      }
    };
    return { state, lines, waitForEvent };
  }

  it("agree: the file contains each event before the log reports it, in the order of the events", async () => {
    const { state, lines } = await logged(temporaryFolder());
    const events = [model("m", 2), connectingTo, connected[1], ...jobs(100), ...jobs(1), disconnected[1]];
    // Some at the same time, some while an earlier write is in progress.
    for (const [i, event] of events.entries()) {
      state.onEvent(event);
      if (i % 7 === 0) await new Promise(setImmediate);
    }
    await state.close({ code: "drained", message: "" });
    expect(lines.map(({ event }) => event)).toEqual(events);
    let jobsLogged = 0;
    for (const { event, onDisk } of lines) {
      if (event.type === "job-started") jobsLogged++;
      // The file may be ahead of the log, never behind it.
      expect(onDisk?.models[0]?.jobs).toBeGreaterThanOrEqual(jobsLogged);
      if (event.type === "job-failed") expect(onDisk?.lastFailure).not.toBeNull();
      if (event.type === "disconnected") expect(onDisk?.lastDisconnect?.reason).toBe("it rained");
    }
  });

  it("agree while no timer fires: a line waits for the write of its event", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const { state, lines, waitForEvent } = await logged(temporaryFolder());
    for (const event of [model("m", 2), connectingTo, connected[1]]) state.onEvent(event);
    await waitForEvent("connected");
    for (const event of [started(0)[1], failed(1)]) state.onEvent(event);
    expect(lines.map(({ event }) => event.type)).toEqual(["model", "connecting", "connected"]);
    vi.runAllTimers();
    await waitForEvent("job-failed");
    expect(lines.at(-1)?.onDisk).toMatchObject({
      lastFailure: { message: "failure 1" },
      models: [{ active: 0, jobs: 1 }],
    });
    await state.close({ code: "drained", message: "" });
  });

  it("do not wait for a timer if the agent's state changes", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const { state, lines, waitForEvent } = await logged(temporaryFolder());
    state.onEvent(connectingTo);
    await waitForEvent("connecting");
    state.onEvent(connected[1]);
    await waitForEvent("connected");
    expect(lines.map(({ onDisk }) => onDisk?.state)).toEqual(["connecting", "connected"]);
    await state.close({ code: "drained", message: "" });
  });

  it("never hold back a line forever: a file that cannot be written is a warning", async () => {
    const { state, lines } = await logged(join(temporaryFolder(), "absent"));
    const events = [connectingTo, connected[1], ...jobs(600)];
    for (const event of events) state.onEvent(event);
    // Memory is bounded: a disk that hangs holds back a thousand lines.
    expect(lines.length).toBeGreaterThan(events.length - 1_001);
    await state.close({ code: "drained", message: "" });
    expect(lines.map(({ event }) => event).filter(({ type }) => type !== "warning")).toEqual(events);
    expect(lines.map(({ event }) => event.type)).toContain("warning");
  });
});

describe("why a worker gets no job", () => {
  const stopped = (code: string): StatusEvent => [9, { type: "stopped", code, message: `It is ${code}.` }];
  it.each<[what: string, events: readonly StatusEvent[], alive: boolean, code: IdleReason["code"], says: RegExp]>([
    [
      "no request since it connected, at an older pool",
      up,
      true,
      "no-job-for-its-models",
      /no job for m for 16 min 39 s\. Either/,
    ],
    [
      "no request since the last job, at an older pool",
      [...up, started(NOW_MS - 70_000), done(NOW_MS - 60_000)],
      true,
      "no-job-for-its-models",
      /for 1 min 0 s/,
    ],
    [
      "no request for any model",
      upAtTelling,
      true,
      "no-job-for-its-models",
      /There were no requests for other models either/,
    ],
    [
      "requests for other models",
      [...upAtTelling, elsewhere(NOW_MS - 9_000, 4), elsewhere(NOW_MS - 3_000, 1)],
      true,
      "not-the-model-asked-for",
      /no job for m for 16 min 39 s\. In this time the pool received 5 requests for other models, the last one 3 s ago.*--model/,
    ],
    [
      "requests for other models before its last job, and none since",
      [...upAtTelling, elsewhere(5, 4), started(10), done(20)],
      true,
      "no-job-for-its-models",
      /no requests for other models either/,
    ],
    [
      "requests for other models before it connected again",
      [...upAtTelling, elsewhere(5, 4), disconnected, connected],
      true,
      "no-job-for-its-models",
      /Either/,
    ],
    ["it works", [...up, started(10)], true, "working", /free slots/],
    ["its slots are busy", [...up, started(10), started(11)], true, "all-slots-busy", /--slots/],
    ["it loads", [], true, "loading", /loading/],
    ["it connects", [connecting], true, "connecting", /connecting/],
    ["it waits to connect", [...up, disconnected], true, "disconnected", /\(it rained\)\. Next attempt in 5 s/],
    ["it drains", [...up, [5, { type: "draining", leased: 1 }]], true, "draining", /draining/],
    ["its token was refused", [...up, stopped("token-refused")], false, "refused", /token-refused/],
    ["its token has expired", [...up, stopped("token-expired")], false, "refused", /token-expired/],
    ["it was stopped", [...up, stopped("drained")], false, "stopped", /Start it again\./],
    ["it was killed", up, false, "vanished", /killed, or the machine restarted/],
  ])("%s", (_what, events, alive, code, says) => {
    const why = idleReason(statusAfter(...events), alive, NOW_MS);
    expect(why.code).toBe(code);
    expect(why.message).toMatch(says);
  });
});

it.each<[ms: number, want: string]>([
  [-5, "0 s"],
  [59_999, "59 s"],
  [61_000, "1 min 1 s"],
  [2 * 3_600_000 + 5 * 60_000, "2 h 5 min"],
  [25 * 3_600_000, "1 d 1 h"],
])("%i ms are %s", (ms, want) => expect(formatDuration(ms)).toBe(want));

describe("a log line for programs", () => {
  it.each<[event: AgentEvent, level: string]>([
    [{ type: "connected", pool: "p", worker: "w" }, "info"],
    [{ type: "job-started", jobId: "j", model: "m" }, "debug"],
    [{ type: "warning", message: "w" }, "warn"],
    [{ type: "stopped", code: "drained", message: "m" }, "info"],
    [{ type: "stopped", code: "token-refused", message: "m" }, "error"],
  ])("%j has the level %s", (event, level) => expect(levelOf(event)).toBe(level));

  it("has time, level, event, message, and the event's own fields", () => {
    expect(logRecord({ type: "disconnected", reason: "r", retryInMs: 5 }, 0)).toEqual({
      time: "1970-01-01T00:00:00.000Z",
      level: "warn",
      event: "disconnected",
      reason: "r",
      retryInMs: 5,
      message: "Disconnected: r. Next attempt in 0.0 s.",
    });
  });
});
