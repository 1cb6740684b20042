import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type Display,
  type DisplayOptions,
  displayOn,
  liveLine,
  logFormat,
  sampled,
  tokensPerSecond,
} from "../../../worker-agent/cli/display.ts";
import type { AgentEvent } from "../../../worker-agent/events.ts";
import { initialStatus } from "../../../worker-agent/state/agent-state.ts";
import type { AgentStatus } from "../../../worker-agent/state/status-file.ts";
import { nextStatus } from "../../../worker-agent/state/status-machine.ts";

const counters = (tokensGenerated: number): AgentStatus["counters"] => ({
  jobsStarted: 0,
  jobsDone: 0,
  jobsFailed: 0,
  jobsCancelled: 0,
  activeGenerations: 0,
  tokensGenerated,
  promptTokensEvaluated: 0,
  connections: 1,
});
const statusAfter = (tokens: number, ...events: AgentEvent[]): AgentStatus => {
  const about = { poolUrl: "https://pool.example", pool: "a".repeat(64), worker: "b".repeat(64) };
  const story = events.reduce((so, event) => nextStatus(so, event, 0), initialStatus(about, 0));
  return { ...story, updatedMs: 0, counters: counters(tokens) };
};
const model = (name: string): AgentEvent => ({
  type: "model",
  name,
  sha256: null,
  slots: 4,
  contextTokens: 64,
  threads: 1,
  backend: "cpu",
  loaded: true,
});
const connected: AgentEvent = { type: "connected", pool: "a".repeat(64), worker: "b".repeat(64) };
const started: AgentEvent = { type: "job-started", jobId: "j1", model: "llama" };
const warning: AgentEvent = { type: "warning", message: "it is \u001b]0;warm\u0007" };

describe("the live line", () => {
  it.each<[what: string, status: AgentStatus, rate: number, want: string]>([
    ["that loads", statusAfter(0), 0, "loading · no jobs yet"],
    ["that waits for a first job", statusAfter(0, model("llama"), connected), 0, "connected · llama · no jobs yet"],
    [
      "that works",
      statusAfter(4321, model("llama"), connected, started, started),
      142.6,
      "connected · llama · 2 active · 143 tok/s · 2 jobs · 4321 tokens",
    ],
    [
      "that lost its pool",
      statusAfter(0, model("llama"), { type: "disconnected", reason: "r", retryInMs: 4_000 }),
      0,
      "disconnected, next try in 3 s · llama · no jobs yet",
    ],
    [
      "with long names",
      statusAfter(0, model("a".repeat(30)), model("b".repeat(30)), connected),
      0,
      "connected · 2 models · no jobs yet",
    ],
    ["with a name that steers", statusAfter(0, model("a\u001b[31m"), connected), 0, "connected · a�[31m · no jobs yet"],
  ])("of a worker %s", (_what, status, rate, want) => expect(liveLine(status, rate, 1_500)).toBe(want));
});

it("the speed is that of the last three seconds", () => {
  const at = (atMs: number, tokens: number) => ({ atMs, tokens });
  expect(tokensPerSecond([])).toBe(0);
  expect(tokensPerSecond([at(0, 5)])).toBe(0);
  expect(tokensPerSecond([at(0, 9), at(1_000, 5)])).toBe(0);
  const samples = [at(0, 0), at(1_000, 900), at(2_000, 900), at(4_500, 1_000)];
  expect(tokensPerSecond(samples.reduce<ReturnType<typeof sampled>>(sampled, []))).toBe(40);
});

describe("the display of events", () => {
  let written: string[];
  let display: Display;
  const open = (screen: { isTTY: boolean; columns?: number }, options: Partial<DisplayOptions> = {}) => {
    written = [];
    const write = (text: string) => written.push(text);
    display = displayOn(
      { ...screen, write },
      { log: undefined, quiet: false, terminal: "xterm", ...options },
      Date.now,
    );
  };
  beforeEach(() => {
    vi.useFakeTimers({ now: 0 });
  });
  afterEach(() => {
    display.close();
    vi.useRealTimers();
  });

  it("in a terminal draws one line at most four times a second, and only when it changed", () => {
    open({ isTTY: true, columns: 120 });
    for (let token = 0; token < 100; token++) {
      display.status(statusAfter(token, model("llama"), connected, started));
      vi.advanceTimersByTime(10);
    }
    expect(written.length).toBeGreaterThanOrEqual(3);
    expect(written.length).toBeLessThanOrEqual(4);
    vi.advanceTimersByTime(10_000);
    const writtenBefore = written.length;
    vi.advanceTimersByTime(10_000);
    expect(written).toHaveLength(writtenBefore);
    expect(written.at(-1)).toContain("1 active · 0 tok/s · 1 job · 99 tokens");
    expect(written.join("")).not.toContain("\n");
  });

  it("in a terminal prints events above the line, and erases the line at the end", () => {
    open({ isTTY: true, columns: 120 });
    display.status(statusAfter(0, model("llama"), connected));
    vi.advanceTimersByTime(250);
    display.event(warning);
    display.event(started);
    vi.advanceTimersByTime(250);
    display.close();
    vi.advanceTimersByTime(1_000);
    const line = "\r\u001b[2K\u001b[?7lconnected · llama · no jobs yet\u001b[?7h";
    const clear = "\r\u001b[2K";
    expect(written).toEqual([line, clear, "Warning: it is �]0;warm�\n", line, clear]);
  });

  it.each<[columns: number, drawn: string]>([
    [20, "connected · aaaaaa…"],
    [0, `connected · ${"a".repeat(39)} · 2 active · 0 tok/s · 2 j…`],
    [200, `connected · ${"a".repeat(39)} · 2 active · 0 tok/s · 2 jobs · 0 tokens`],
  ])("fits a terminal of %i columns; the default is 80", (columns, drawn) => {
    open({ isTTY: true, columns });
    const job: AgentEvent = { ...started, model: "a".repeat(39) };
    display.status(statusAfter(0, model("a".repeat(39)), connected, job, job));
    vi.advanceTimersByTime(250);
    expect(written).toEqual([`\r\u001b[2K\u001b[?7l${drawn}\u001b[?7h`]);
  });

  it.each<[what: string, screen: { isTTY: boolean }, options: Partial<DisplayOptions>, want: string[]]>([
    ["sentences without a terminal", { isTTY: false }, {}, ["Job j1 started (llama).\n", "Warning: it is �]0;warm�\n"]],
    [
      "sentences in a terminal that cannot erase a line",
      { isTTY: true },
      { terminal: "dumb" },
      ["Job j1 started (llama).\n", "Warning: it is �]0;warm�\n"],
    ],
    [
      "sentences on request",
      { isTTY: true },
      { log: "text" },
      ["Job j1 started (llama).\n", "Warning: it is �]0;warm�\n"],
    ],
    ["only warnings and errors with --quiet", { isTTY: true }, { quiet: true }, ["Warning: it is �]0;warm�\n"]],
  ])("shows %s", (_what, screen, options, want) => {
    open(screen, options);
    display.event(started);
    display.event(warning);
    display.status(statusAfter(5, model("llama"), connected));
    vi.advanceTimersByTime(1_000);
    expect(written).toEqual(want);
  });

  it("writes one JSON object a line for programs", () => {
    open({ isTTY: true }, { log: "json" });
    display.event(started);
    display.event(warning);
    const time = "1970-01-01T00:00:00.000Z";
    expect(written.map((line) => JSON.parse(line))).toEqual([
      { time, level: "debug", event: "job-started", jobId: "j1", model: "llama", message: "Job j1 started (llama)." },
      { time, level: "warn", event: "warning", message: "Warning: it is �]0;warm�" },
    ]);
    for (const line of written) expect(line.match(/\n/g)).toEqual(["\n"]);
  });
});

it("--log accepts only text and json", () => {
  expect([logFormat(undefined), logFormat("text"), logFormat("json")]).toEqual([undefined, "text", "json"]);
  expect(() => logFormat("xml")).toThrow("--log must be text or json");
});
