import { describe, expect, it } from "vitest";
import { chooseWorkerFolder } from "../../../worker-agent/cli/status.ts";
import { Counters } from "../../../worker-agent/session/counters.ts";
import { initialStatus } from "../../../worker-agent/state/agent-state.ts";

const about = { poolUrl: "https://pool.example", pool: "a".repeat(64), worker: "b".repeat(64) };
const ran = (folder: string, updatedMs: number, connections: number, running = false) => ({
  folder,
  running,
  status: { ...initialStatus(about, 0), updatedMs, counters: { ...new Counters().values, connections } },
});

describe("of several workers that ran here", () => {
  it.each<[what: string, all: ReturnType<typeof ran>[], meant: unknown]>([
    ["nobody", [], null],
    [
      "the one that runs, though another was heard of later",
      [ran("old", 9, 1), ran("on", 5, 1, true)],
      { folder: "on", others: [] },
    ],
    [
      "of two that run the person's choice",
      [ran("a", 1, 1, true), ran("b", 2, 1, true), ran("c", 3, 1)],
      { candidates: ["a", "b"] },
    ],
    ["the one that ran last", [ran("a", 1, 1), ran("b", 3, 1), ran("c", 2, 1)], { folder: "b", others: ["c", "a"] }],
    ["not one that never came to a pool", [ran("a", 1, 1), ran("refused", 9, 0)], { folder: "a", others: [] }],
    ["one that never came to a pool, where none did", [ran("a", 1, 0), ran("b", 2, 0)], { folder: "b", others: ["a"] }],
  ])("%s is meant", (_what, all, meant) => expect(chooseWorkerFolder(all)).toEqual(meant));
});
