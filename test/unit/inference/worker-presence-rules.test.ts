import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  connected,
  disconnected,
  nextChangeMs,
  type Presences,
  takeChanges,
} from "../../../edge/inference/records/worker-presence-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const worker = (connection: string) => ({ workerId: "w", connection, models: ["m"] });
const joined = { type: "worker_joined", workerId: "w", models: ["m"] };
const left = { type: "worker_left", workerId: "w" };

describe("the event log", () => {
  it("gets `worker_joined` at once, and `worker_left` at once when a minute has passed", () => {
    const all: Presences = new Map();
    connected(all, worker("a"));
    expect(nextChangeMs(all, 0)).toBe(0);
    expect(takeChanges(all, 0)).toEqual([joined]);
    expect(takeChanges(all, 1)).toEqual([]);
    expect(nextChangeMs(all, 1)).toBe(null);
    disconnected(all, "a");
    expect(takeChanges(all, LIMITS.presenceMs)).toEqual([left]);
  });

  it("gets only the final status of a connection that flaps", () => {
    const all: Presences = new Map();
    connected(all, worker("a"));
    takeChanges(all, 0);
    disconnected(all, "a");
    expect(takeChanges(all, 1_000)).toEqual([]);
    expect(nextChangeMs(all, 1_000)).toBe(LIMITS.presenceMs);
    connected(all, worker("b"));
    expect(takeChanges(all, 2_000)).toEqual([]);
    expect(nextChangeMs(all, 2_000)).toBe(null);
    disconnected(all, "b");
    expect(takeChanges(all, LIMITS.presenceMs)).toEqual([left]);
  });

  it("gets nothing when a worker reconnects before its old connection is closed", () => {
    const all: Presences = new Map();
    connected(all, worker("a"));
    takeChanges(all, 0);
    connected(all, worker("b"));
    disconnected(all, "a");
    expect(takeChanges(all, 10 * LIMITS.presenceMs)).toEqual([]);
  });

  it("gets an event without delay after a backward clock step", () => {
    const all: Presences = new Map();
    connected(all, worker("a"));
    takeChanges(all, 10 * LIMITS.presenceMs);
    disconnected(all, "a");
    expect(takeChanges(all, 0)).toEqual([left]);
  });
});

it("a worker that left is forgotten a minute after the event", () => {
  const all: Presences = new Map();
  connected(all, worker("a"));
  takeChanges(all, 0);
  disconnected(all, "a");
  takeChanges(all, LIMITS.presenceMs);
  expect(all.size).toBe(1);
  takeChanges(all, 2 * LIMITS.presenceMs);
  expect(all.size).toBe(0);
});

it("however a connection flaps, the log gets at most one event a minute for a worker, and always its final status", () => {
  const step = fc.record({
    isConnect: fc.boolean(),
    id: fc.constantFrom("a", "b"),
    waitMs: fc.integer({ min: 0, max: 40_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const all: Presences = new Map();
      const open = new Set<string>();
      let [nowMs, lastMs, inLog] = [0, Number.NEGATIVE_INFINITY, false];
      const takeDue = () => {
        for (const change of takeChanges(all, nowMs)) {
          expect(nowMs - lastMs).toBeGreaterThanOrEqual(LIMITS.presenceMs);
          expect(change.type === "worker_joined").toBe(!inLog);
          [lastMs, inLog] = [nowMs, !inLog];
        }
      };
      for (const { isConnect, id, waitMs } of steps) {
        nowMs += waitMs;
        if (isConnect) connected(all, worker(id));
        else disconnected(all, id);
        if (isConnect) open.add(id);
        else open.delete(id);
        takeDue();
      }
      nowMs = nextChangeMs(all, nowMs) ?? nowMs;
      takeDue();
      expect(inLog).toBe(open.size > 0);
    }),
  );
});
