import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dispatch } from "../../../edge/inference/jobs/dispatch-machine.ts";
import { healthKey } from "../../../edge/inference/jobs/lane-health-rules.ts";
import { cancel, tick, workerConnected, workerFrame, workerGone } from "../../../edge/inference/jobs/lane-machine.ts";
import { type LaneState, newLane } from "../../../edge/inference/jobs/lane-state.ts";
import { workerCircuitState } from "../../../edge/inference/jobs/worker-circuit-machine.ts";
import { forgetHealth, isServing } from "../../../edge/inference/jobs/worker-health-machine.ts";
import { afterJob, scoreOf, stepOf, UNKNOWN_QUALITY } from "../../../edge/inference/jobs/worker-quality-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { done, type JobFrame, jobOf, MODEL, newJob, offerOf, ready, submitOne } from "./lane-support.ts";

const NAMES = ["a", "b", "c", "d", "e", "f", "g", "h"];
const HOUR = 3_600_000;

/** Eight workers of one slot each; a key may open two circuits. */
function lane(names = NAMES, banned = new Set<string>()): LaneState {
  const state = newLane(new Set([MODEL]));
  Object.assign(state.health, { banned });
  for (const name of names) {
    workerConnected(state, offerOf(name, { slots: 1 }), 0);
    workerFrame(state, name, ready(0, 1), 0);
  }
  return state;
}

let jobs = 0;
const failed = (
  jobId: string,
  lease: number,
  code: "inference/engine-failed" | "inference/prompt-refused",
): JobFrame => ({
  type: "failed",
  jobId,
  lease,
  code,
  message: "failed",
  retryable: false,
});

/** A new job of the key. Returns the connection that got it, or null. */
function give(state: LaneState, keyId: string, nowMs: number): { id: string; to: string | null } {
  const id = `job-${jobs++}`;
  const accepted = submitOne(state, { ...newJob(id), keyId }, nowMs);
  if (!accepted.ok) throw new Error(accepted.code);
  return { id, to: jobOf(state, id).connection };
}

/** The worker that gets the job ends it in this way, and has a free slot again. */
function end(state: LaneState, id: string, how: "done" | "engine-failed" | "prompt-refused", nowMs: number): void {
  const { connection, lease } = jobOf(state, id);
  if (connection === null) throw new Error("nobody has the job");
  const frame = how === "done" ? done(id, lease) : failed(id, lease, `inference/${how}` as const);
  workerFrame(state, connection, frame, nowMs);
  free(state, connection, nowMs);
}

function free(state: LaneState, connection: string, nowMs: number): void {
  const worker = state.workers.get(connection);
  if (worker) workerFrame(state, connection, ready(worker.sent, 1), nowMs);
}

/** Makes this worker fail so often. All workers are busy meanwhile: otherwise a better one would get its jobs. */
function fail(state: LaneState, name: string, keyId: string, times: number, nowMs: number): void {
  for (let failures = 0, rounds = 0; failures < times && rounds < times; rounds++) {
    const given = [...state.workers.keys()].map(() => give(state, keyId, nowMs));
    for (const { id, to } of given) {
      if (to === null) cancel(state, id, "inference/cancelled");
      else if (to !== name) end(state, id, "done", nowMs);
      else {
        end(state, id, "engine-failed", nowMs);
        failures += 1;
      }
    }
    for (const connection of state.workers.keys()) free(state, connection, nowMs);
  }
}

const circuitOf = (state: LaneState, name: string, nowMs: number) => {
  const entry = state.health.entries.get(healthKey(`id-${name}`, MODEL));
  return entry === undefined ? "healthy" : workerCircuitState(entry.circuit, nowMs);
};
/** The workers that get one job each while all are free. */
function served(state: LaneState, count: number, nowMs: number): (string | null)[] {
  const given = Array.from({ length: count }, () => give(state, "other", nowMs));
  for (const { id, to } of given) if (to !== null) end(state, id, "done", nowMs);
  return given.map(({ to }) => to);
}

describe("a worker that fails at a model", () => {
  it("gets no job of it after five failures in ten minutes, for half an hour; then one, which decides", () => {
    const state = lane();
    fail(state, "a", "k1", 5, 1_000);
    expect(circuitOf(state, "a", 1_000)).toBe("open");
    expect(state.health.unsaved.filter(({ change }) => change === "opened")).toHaveLength(1);
    expect(served(state, 8, 2_000)).not.toContain("a");
    const later = 1_000 + LIMITS.workerCircuitOpenMs;
    expect(circuitOf(state, "a", later)).toBe("half-open");
    const probes = Array.from({ length: 8 }, () => give(state, "k2", later));
    const probe = probes.find(({ to }) => to === "a") ?? expect.fail("no probe");
    for (const { id } of probes) if (id !== probe.id) end(state, id, "done", later);
    end(state, probe.id, "done", later);
    expect(circuitOf(state, "a", later)).toBe("closed");
    expect(state.health.unsaved.at(-1)?.change).toBe("closed");
  });

  it.each<[what: string, failOnce: (state: LaneState, id: string, name: string) => void]>([
    ["its engine failed", (state, id) => end(state, id, "engine-failed", 1_000)],
    [
      "it was lost",
      (state, _id, name) => {
        workerGone(state, name, 1_000);
        workerConnected(state, offerOf(name, { slots: 1 }), 1_000);
        workerFrame(state, name, ready(0, 1), 1_000);
      },
    ],
    [
      "its lease ran out",
      (state, id, name) => {
        jobOf(state, id).leaseUntilMs = 1_000;
        tick(state, 1_000);
        free(state, name, 1_000);
      },
    ],
  ])("counts a failure: %s", (_what, failOnce) => {
    const state = lane();
    const { id, to } = give(state, "k", 0);
    failOnce(state, id, to ?? "");
    const [entry] = [...state.health.entries.values()];
    expect(entry).toMatchObject({ workerId: `id-${to}`, model: MODEL });
    expect(entry?.circuit.failures).toEqual([{ atMs: 1_000, keyId: "k" }]);
  });

  it.each<[what: string, endOnce: (state: LaneState, id: string, name: string) => void]>([
    ["the client's request was refused", (state, id) => end(state, id, "prompt-refused", 1_000)],
    ["the client left", (state, id) => cancel(state, id, "inference/cancelled")],
    [
      "it drained, and left",
      (state, _id, name) => {
        workerFrame(state, name, { type: "drain" }, 1_000);
        workerGone(state, name, 1_000);
      },
    ],
  ])("counts none: %s", (_what, endOnce) => {
    const state = lane();
    const { id, to } = give(state, "k", 0);
    endOnce(state, id, to ?? "");
    expect(state.health.entries.size).toBe(0);
  });

  it("keeps its circuit closed if it is the model's last worker, however often it fails", () => {
    const state = lane(["a"]);
    fail(state, "a", "k", 12, 1_000);
    expect(circuitOf(state, "a", 1_000)).toBe("closed");
    expect(give(state, "k", 1_000).to).toBe("a");
  });

  it("gets jobs again when all others have left, although its circuit is open", () => {
    const state = lane();
    fail(state, "a", "k", 5, 1_000);
    expect(circuitOf(state, "a", 1_000)).toBe("open");
    for (const name of NAMES.slice(1)) workerGone(state, name, 1_000);
    expect(give(state, "k", 1_000).to).toBe("a");
  });

  it("gives a probe back to the circuit if its client leaves", () => {
    const state = lane();
    fail(state, "a", "k", 5, 1_000);
    const later = 1_000 + LIMITS.workerCircuitOpenMs;
    const probes = Array.from({ length: 8 }, () => give(state, "k", later));
    const probe = probes.find(({ to }) => to === "a") ?? expect.fail("no probe");
    cancel(state, probe.id, "inference/cancelled");
    free(state, "a", later);
    expect(give(state, "k", later).to).toBe("a");
  });

  it("gets a waiting job when its pause ends, without any other event", () => {
    const state = lane(["a", "b", "c", "d"]);
    fail(state, "a", "k", 5, 1_000);
    expect(circuitOf(state, "a", 1_000)).toBe("open");
    const atMs = 1_000 + LIMITS.workerCircuitOpenMs - 10;
    for (let n = 0; n < 3; n++) expect(give(state, "k", atMs).to).not.toBeNull();
    const waiting = give(state, "k", atMs);
    expect(waiting.to).toBeNull();
    tick(state, atMs + 20);
    expect(jobOf(state, waiting.id).connection).toBe("a");
  });
});

describe("a client that provokes failures", () => {
  it("opens at most a quarter of a model's circuits with one key", () => {
    const state = lane();
    for (const name of NAMES) fail(state, name, "attacker", 10, 1_000);
    const open = NAMES.filter((name) => circuitOf(state, name, 1_000) === "open");
    expect(open).toHaveLength(2);
    for (const name of NAMES) fail(state, name, "another", 10, 1_000);
    expect(NAMES.filter((name) => circuitOf(state, name, 1_000) === "open")).toHaveLength(4);
  });

  it("never takes the last worker of a model away, with any number of keys, in any order of failures", () => {
    const step = fc.tuple(fc.constantFrom(...NAMES), fc.integer({ min: 0, max: 20 }), fc.nat({ max: 20 * 60_000 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom(1, 2, 4, 8), (steps, workers) => {
        const names = NAMES.slice(0, workers);
        const state = lane(names);
        let nowMs = 0;
        for (const [name, key, afterMs] of steps) {
          nowMs += afterMs;
          if (names.includes(name)) fail(state, name, `key-${key}`, 1, nowMs);
          const { id, to } = give(state, "honest", nowMs);
          expect(to).not.toBeNull();
          end(state, id, "done", nowMs);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe("quality", () => {
  it("is 1 for a worker without failures, falls with them, and is forgotten by halves", () => {
    expect(scoreOf(UNKNOWN_QUALITY, 5)).toBe(1);
    const bad = [1, 2, 3].reduce((quality) => afterJob(quality, false, 0), UNKNOWN_QUALITY);
    expect(scoreOf(bad, 0)).toBeCloseTo(1 / 4);
    expect(scoreOf(bad, LIMITS.workerQualityHalfLifeMs)).toBeCloseTo(1 / 2.5);
    expect(scoreOf(bad, 24 * LIMITS.workerQualityHalfLifeMs)).toBeCloseTo(1);
    expect(scoreOf(afterJob(bad, true, 0), 0)).toBeCloseTo(2 / 5);
  });

  it("is between 0 and 1, whatever happens and whatever the clock does", () => {
    const job = fc.tuple(fc.boolean(), fc.integer({ min: -1_000 * HOUR, max: 1_000 * HOUR }));
    fc.assert(
      fc.property(fc.array(job), fc.integer({ min: -1_000 * HOUR, max: 1_000 * HOUR }), (all, nowMs) => {
        const quality = all.reduce((so, [isCompleted, atMs]) => afterJob(so, isCompleted, atMs), UNKNOWN_QUALITY);
        const score = scoreOf(quality, nowMs);
        expect(score).toBeGreaterThan(0);
        expect(score).toBeLessThanOrEqual(1);
        expect(stepOf(score)).toBeLessThanOrEqual(LIMITS.workerQualitySteps);
      }),
    );
  });

  it("decides between free workers: the better one gets the job, although it was used more recently", () => {
    const state = lane(["a", "b"]);
    fail(state, "a", "k", 3, 1_000);
    // Three free-for-all rounds: without quality, both would get jobs in turn.
    expect(
      [give, give, give].map((one) => {
        const { id, to } = one(state, "k", 2_000);
        end(state, id, "done", 2_000);
        return to;
      }),
    ).toEqual(["b", "b", "b"]);
    // A day later the failures are forgotten, and both share the load.
    const later = 24 * HOUR;
    expect(new Set(served(state, 2, later))).toEqual(new Set(["a", "b"]));
  });
});

describe("a ban", () => {
  it("keeps jobs from a worker; a model that only banned workers serve is not served", () => {
    const banned = new Set(["id-a"]);
    const state = lane(["a", "b"], banned);
    expect(served(state, 1, 0)).toEqual(["b"]);
    banned.add("id-b");
    expect(submitOne(state, newJob("nobody"), 0)).toMatchObject({ ok: false, code: "inference/no-worker" });
    banned.clear();
    expect([...state.workers.values()].every((worker) => isServing(state, worker))).toBe(true);
  });

  it("ends with the next dispatch after a pardon", () => {
    const banned = new Set<string>();
    const state = lane(["a"], banned);
    const { id } = give(state, "k", 0);
    banned.add("id-a");
    end(state, id, "done", 0);
    banned.delete("id-a");
    expect(give(state, "k", 0).to).toBe("a");
    expect(dispatch(state, MODEL, 0)).toEqual([]);
  });
});

it("a reset forgets circuits and qualities of one worker, or of all", () => {
  const state = lane();
  fail(state, "a", "k1", 5, 1_000);
  fail(state, "b", "k2", 5, 1_000);
  forgetHealth(state, "id-a");
  expect([circuitOf(state, "a", 1_000), circuitOf(state, "b", 1_000)]).toEqual(["healthy", "open"]);
  forgetHealth(state, null);
  expect(state.health.entries.size).toBe(0);
});
