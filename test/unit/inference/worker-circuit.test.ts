import * as fc from "fast-check";
import { expect, it } from "vitest";
import {
  type CircuitStep,
  CLOSED,
  jobEnded,
  jobFailed,
  jobStarted,
  letsThrough,
  type ModelCircuits,
  type WorkerCircuit,
  workerCircuitState,
} from "../../../edge/inference/jobs/worker-circuit-machine.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const NOW = Date.UTC(2026, 11, 1);
const MINUTE = 60_000;
/** Eight workers serve the model, and all other circuits are closed. */
const EIGHT: ModelCircuits = { workers: 8, othersAvailable: 7, openedBy: new Map() };

const fail = (circuit: WorkerCircuit, atMs: number, keyId: string, model = EIGHT): CircuitStep =>
  jobFailed(circuit, `job-${atMs}`, { atMs, keyId }, model);

/** The circuit after failures of these keys, a minute apart. */
function afterFailures(keys: readonly string[], model = EIGHT): CircuitStep {
  let last: CircuitStep = { circuit: CLOSED, change: null };
  keys.forEach((keyId, i) => {
    last = fail(last.circuit, NOW + i * MINUTE, keyId, model);
  });
  return last;
}

it.each<[what: string, keys: string[], model: ModelCircuits, change: CircuitStep["change"]]>([
  ["four failures", ["a", "b", "c", "d"], EIGHT, null],
  ["five failures of five keys", ["a", "b", "c", "d", "e"], EIGHT, "opened"],
  ["five failures of one key, its first circuit", ["a", "a", "a", "a", "a"], EIGHT, "opened"],
  [
    "the same, its third circuit of eight",
    ["a", "a", "a", "a", "a"],
    { ...EIGHT, openedBy: new Map([["a", 2]]) },
    null,
  ],
  [
    "the same, with most failures of that key",
    ["a", "b", "a", "c", "a"],
    { ...EIGHT, openedBy: new Map([["a", 2]]) },
    null,
  ],
  ["one key among three workers", ["a", "a", "a", "a", "a"], { ...EIGHT, workers: 3 }, null],
  ["the last available worker", ["a", "b", "c", "d", "e"], { ...EIGHT, othersAvailable: 0 }, null],
])("%s", (_what, keys, model, change) => {
  expect(afterFailures(keys, model).change).toBe(change);
});

it("failures that are more than ten minutes old do not count", () => {
  const four = afterFailures(["a", "b", "c", "d"]).circuit;
  expect(fail(four, NOW + 11 * MINUTE, "e").change).toBeNull();
  expect(fail(four, NOW + 9 * MINUTE, "e").change).toBe("opened");
});

it("an open circuit lets nothing through for half an hour, then one probe, which decides", () => {
  const { circuit } = afterFailures(["a", "b", "c", "d", "e"]);
  const openedMs = NOW + 4 * MINUTE;
  expect(letsThrough(circuit, openedMs + LIMITS.workerCircuitOpenMs - 1)).toBe(false);
  const probeMs = openedMs + LIMITS.workerCircuitOpenMs;
  expect(workerCircuitState(circuit, probeMs)).toBe("half-open");
  const probing = jobStarted(circuit, "probe", probeMs);
  expect(letsThrough(probing, probeMs)).toBe(false);
  expect(jobEnded(probing, "probe", true)).toEqual({ circuit: CLOSED, change: "closed" });
  const failed = jobFailed(probing, "probe", { atMs: probeMs, keyId: "a" }, EIGHT);
  expect(failed.change).toBeNull();
  expect(workerCircuitState(failed.circuit, probeMs + LIMITS.workerCircuitOpenMs - 1)).toBe("open");
  // A client that left says nothing about the worker: another job may probe.
  expect(letsThrough(jobEnded(probing, "probe", false).circuit, probeMs)).toBe(true);
});

it("the jobs of one key open at most a quarter of a model's circuits, and one worker always stays", () => {
  const failure = fc.record({
    worker: fc.integer({ min: 0, max: 7 }),
    key: fc.constantFrom("a", "b", "c"),
    afterMs: fc.integer({ min: 0, max: 2 * MINUTE }),
  });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.array(failure, { maxLength: 200, size: "max" }), (workers, all) => {
      const circuits: WorkerCircuit[] = Array.from({ length: workers }, () => CLOSED);
      let nowMs = NOW;
      all.forEach(({ worker, key, afterMs }, i) => {
        nowMs += afterMs;
        const circuit = circuits[worker];
        if (circuit === undefined) return;
        const openedBy = new Map<string, number>();
        for (const each of circuits) {
          if (each.openedBy !== null) openedBy.set(each.openedBy, (openedBy.get(each.openedBy) ?? 0) + 1);
        }
        const othersAvailable = circuits.filter((each, at) => at !== worker && letsThrough(each, nowMs)).length;
        const model = { workers, othersAvailable, openedBy };
        circuits[worker] = jobFailed(circuit, `job-${i}`, { atMs: nowMs, keyId: key }, model).circuit;
        for (const keyId of ["a", "b", "c"]) {
          const opened = circuits.filter((each) => each.openedBy === keyId).length;
          expect(opened).toBeLessThanOrEqual(Math.floor(workers / 4));
        }
        expect(circuits.some((each) => letsThrough(each, nowMs))).toBe(true);
      });
    }),
  );
});
