import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  came,
  changes,
  nextChangeMs,
  type Presences,
  went,
} from "../../../edge/inference/records/worker-presence-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const worker = (connection: string) => ({ workerId: "w", connection, models: ["m"] });
const joined = { type: "worker_joined", workerId: "w", models: ["m"] };
const left = { type: "worker_left", workerId: "w" };

describe("the log is told", () => {
  it("at once that a worker joined, and that it left when that is a minute later", () => {
    const all: Presences = new Map();
    came(all, worker("a"));
    expect(nextChangeMs(all, 0)).toBe(0);
    expect(changes(all, 0)).toEqual([joined]);
    expect(changes(all, 1)).toEqual([]);
    expect(nextChangeMs(all, 1)).toBe(null);
    went(all, "a");
    expect(changes(all, LIMITS.presenceMs)).toEqual([left]);
  });

  it("of a line that flaps only how it ended", () => {
    const all: Presences = new Map();
    came(all, worker("a"));
    changes(all, 0);
    went(all, "a");
    expect(changes(all, 1_000)).toEqual([]);
    expect(nextChangeMs(all, 1_000)).toBe(LIMITS.presenceMs);
    came(all, worker("b"));
    expect(changes(all, 2_000)).toEqual([]);
    expect(nextChangeMs(all, 2_000)).toBe(null);
    went(all, "b");
    expect(changes(all, LIMITS.presenceMs)).toEqual([left]);
  });

  it("nothing when a worker comes back before its old socket is known to be gone", () => {
    const all: Presences = new Map();
    came(all, worker("a"));
    changes(all, 0);
    came(all, worker("b"));
    went(all, "a");
    expect(changes(all, 10 * LIMITS.presenceMs)).toEqual([]);
  });

  it("also when the wall clock has stepped back", () => {
    const all: Presences = new Map();
    came(all, worker("a"));
    changes(all, 10 * LIMITS.presenceMs);
    went(all, "a");
    expect(changes(all, 0)).toEqual([left]);
  });
});

it("whoever left is forgotten a minute after the log was told", () => {
  const all: Presences = new Map();
  came(all, worker("a"));
  changes(all, 0);
  went(all, "a");
  changes(all, LIMITS.presenceMs);
  expect(all.size).toBe(1);
  changes(all, 2 * LIMITS.presenceMs);
  expect(all.size).toBe(0);
});

it("whatever the flapping, a worker is told of once a minute at most, and how it ended always", () => {
  const step = fc.record({
    come: fc.boolean(),
    id: fc.constantFrom("a", "b"),
    waitMs: fc.integer({ min: 0, max: 40_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const all: Presences = new Map();
      const open = new Set<string>();
      let [nowMs, lastMs, inLog] = [0, Number.NEGATIVE_INFINITY, false];
      const look = () => {
        for (const change of changes(all, nowMs)) {
          expect(nowMs - lastMs).toBeGreaterThanOrEqual(LIMITS.presenceMs);
          expect(change.type === "worker_joined").toBe(!inLog);
          [lastMs, inLog] = [nowMs, !inLog];
        }
      };
      for (const { come, id, waitMs } of steps) {
        nowMs += waitMs;
        if (come) came(all, worker(id));
        else went(all, id);
        if (come) open.add(id);
        else open.delete(id);
        look();
      }
      nowMs = nextChangeMs(all, nowMs) ?? nowMs;
      look();
      expect(inLog).toBe(open.size > 0);
    }),
  );
});
