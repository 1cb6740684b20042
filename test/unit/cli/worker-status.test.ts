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

describe("of several workers that ran here, worker status shows", () => {
  it.each<[what: string, all: ReturnType<typeof ran>[], meant: unknown]>([
    ["none if there is none", [], null],
    [
      "the running one, although another was seen later",
      [ran("old", 9, 1), ran("on", 5, 1, true)],
      { folder: "on", others: [] },
    ],
    [
      "among two running ones the one with the status that was written last",
      [ran("a", 1, 1, true), ran("b", 2, 1, true), ran("c", 3, 1)],
      { candidates: ["a", "b"] },
    ],
    ["the one that ran last", [ran("a", 1, 1), ran("b", 3, 1), ran("c", 2, 1)], { folder: "b", others: ["c", "a"] }],
    [
      "one that connected to a pool, rather than one that never did",
      [ran("a", 1, 1), ran("refused", 9, 0)],
      { folder: "a", others: [] },
    ],
    ["the last one, if none ever connected", [ran("a", 1, 0), ran("b", 2, 0)], { folder: "b", others: ["a"] }],
  ])("%s", (_what, all, meant) => expect(chooseWorkerFolder(all)).toEqual(meant));
});
