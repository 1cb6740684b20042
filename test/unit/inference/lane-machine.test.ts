import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cancel, tick, workerConnected, workerFrame, workerGone } from "../../../edge/inference/jobs/lane-machine.ts";
import { emptyMemory, removeBytes } from "../../../edge/inference/jobs/lane-memory-rules.ts";
import { type Effect, newLane } from "../../../edge/inference/jobs/lane-state.ts";
import { modelLoads } from "../../../edge/inference/jobs/served-models-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";
import { utf8Bytes } from "../../../schema/wire/utf8.ts";
import {
  accept,
  delta,
  done,
  ends,
  laneWith,
  MODEL,
  newJob,
  offerOf,
  offers,
  ready,
  sentTo,
  submitOne,
  types,
} from "./lane-support.ts";

describe("the end of a job", () => {
  it("is sent for a queued job that is cancelled, and no worker is informed", () => {
    const state = laneWith({ a: 0 });
    accept(state, "j1");
    expect(types(cancel(state, "j1", "inference/cancelled"))).toEqual(["end"]);
    expect(workerFrame(state, "a", ready(0, 1), 0)).toEqual([]);
  });

  it("is sent once to the worker of a cancelled job", () => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    expect(types(cancel(state, "j1", "inference/cancelled"))).toEqual(["send", "end"]);
    expect(cancel(state, "j1", "inference/cancelled")).toEqual([]);
  });

  it("is sent after a minute of waiting, and after half an hour in total", () => {
    const state = laneWith({ a: 1 });
    accept(state, "runs");
    accept(state, "waits");
    expect(
      ends(tick(state, LIMITS.queueWaitMs - 1).filter((effect) => effect.type === "end" && effect.job.id === "waits")),
    ).toEqual([]);
    expect(ends(tick(state, LIMITS.queueWaitMs))).toContainEqual(["waits", "inference/queue-timeout"]);
    const fresh = laneWith({ a: 1 });
    accept(fresh, "long");
    for (let t = 0; t < LIMITS.jobMs; t += 10_000) {
      workerFrame(fresh, "a", { type: "progress", jobId: "long", lease: 1 }, t);
      expect(tick(fresh, t)).toEqual([]);
    }
    const last = tick(fresh, LIMITS.jobMs);
    expect(ends(last)).toEqual([["long", "inference/job-timeout"]]);
    expect(types(last)).toEqual(["send", "end"]);
  });
});

describe("a worker that reconnects", () => {
  it("replaces its old connection, and its jobs go back to the queue", () => {
    const state = laneWith({ a: 1 });
    accept(state, "j1");
    const effects = workerConnected(state, offerOf("a2", { workerId: "id-a", slots: 1 }), 0);
    expect(effects).toMatchObject([{ type: "close", connection: "a" }]);
    expect(sentTo(workerFrame(state, "a2", ready(0, 1), 0))).toEqual([["a2", "j1"]]);
  });
});

describe("invariants of the lane", () => {
  /** Random schedules of clients, workers and time; the seed of a failure is printed by fast-check. */
  type Move =
    | { do: "submit"; stream: boolean }
    | { do: "connect" | "gone" | "drain" | "speak" | "finish" | "fail" | "ready"; worker: number }
    | { do: "cancel"; job: number }
    | { do: "wait"; ms: number };
  const worker = fc.integer({ min: 0, max: 3 });
  const move: fc.Arbitrary<Move> = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("submit" as const), stream: fc.boolean() }) },
    { weight: 8, arbitrary: fc.record({ do: fc.constant("ready" as const), worker }) },
    {
      weight: 5,
      arbitrary: fc.record({ do: fc.constantFrom("connect" as const, "speak" as const, "finish" as const), worker }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constantFrom("gone" as const, "drain" as const, "fail" as const), worker }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("cancel" as const), job: fc.nat(50) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 40_000 }) }) },
  );

  it("every accepted job ends once, no worker gets more jobs than its credit, and nothing is left", () => {
    fc.assert(
      fc.property(fc.array(move, { maxLength: 120 }), (moves) => {
        const state = newLane();
        const SLOTS = 2;
        let nowMs = 0;
        let ids = 0;
        const accepted: string[] = [];
        const ended: string[] = [];
        /** Job and worker. */
        const failures = new Set<string>();
        /** The jobs that each honest worker holds. It frees a slot only when the job has ended or was cancelled. */
        const held = new Map<
          string,
          { received: number; jobs: Map<string, { lease: number; seq: number; stream: boolean }> }
        >();
        const run = (effects: Effect[]) => {
          for (const effect of effects) {
            if (effect.type === "end") {
              ended.push(effect.job.id);
              // The client has read it.
              removeBytes(state.memory, effect.job.keyId, "answers", effect.job.heldBytes);
            }
            if (effect.type === "close") held.delete(effect.connection);
            if (effect.type === "send") {
              held.get(effect.connection)?.jobs.delete(effect.frame.jobId);
            }
            if (effect.type === "send-job") {
              const mine = held.get(effect.connection);
              expect(mine, "jobs go to connected workers only").toBeDefined();
              if (!mine) continue;
              expect(failures, "no worker gets a job again that it failed").not.toContain(
                `${effect.job.id} ${effect.connection}`,
              );
              mine.received += 1;
              mine.jobs.set(effect.job.id, { lease: effect.job.lease, seq: 0, stream: effect.job.request.stream });
              expect(mine.jobs.size, "never more jobs than slots").toBeLessThanOrEqual(SLOTS);
            }
          }
        };
        const step = (next: Move) => {
          if (next.do === "submit") {
            const submission = submitOne(state, newJob(`j${ids++}`, { stream: next.stream }), nowMs);
            if (!submission.ok) return;
            accepted.push(...submission.jobs.map(({ id }) => id));
            run(submission.effects);
            return;
          }
          if (next.do === "wait") {
            nowMs += next.ms;
            run(tick(state, nowMs));
            return;
          }
          if (next.do === "cancel") {
            run(cancel(state, `j${next.job}`, "inference/cancelled"));
            return;
          }
          const name = `w${next.worker}`;
          if (next.do === "connect") {
            if (held.has(name)) return;
            held.set(name, { received: 0, jobs: new Map() });
            run(
              workerConnected(
                state,
                { connection: name, workerId: name, engine: "llama", minor: 0, models: offers(MODEL, SLOTS) },
                nowMs,
              ),
            );
            return;
          }
          const mine = held.get(name);
          if (!mine) return;
          const [job] = mine.jobs;
          switch (next.do) {
            case "gone":
              held.delete(name);
              run(workerGone(state, name, nowMs));
              break;
            case "drain":
              run(workerFrame(state, name, { type: "drain" }, nowMs));
              break;
            case "ready":
              run(workerFrame(state, name, ready(mine.received, SLOTS - mine.jobs.size), nowMs));
              break;
            case "speak":
              if (job?.[1].stream) run(workerFrame(state, name, delta(job[0], job[1].lease, job[1].seq++), nowMs));
              break;
            case "finish":
              if (!job) break;
              mine.jobs.delete(job[0]);
              run(workerFrame(state, name, done(job[0], job[1].lease, job[1].stream ? undefined : "text"), nowMs));
              break;
            case "fail":
              if (!job) break;
              if (!state.workers.get(name)?.draining) failures.add(`${job[0]} ${name}`);
              mine.jobs.delete(job[0]);
              run(
                workerFrame(
                  state,
                  name,
                  {
                    type: "failed",
                    jobId: job[0],
                    lease: job[1].lease,
                    code: "inference/engine-failed",
                    message: "",
                    retryable: true,
                  },
                  nowMs,
                ),
              );
              break;
            default:
              next.do satisfies never;
          }
        };
        for (const next of moves) {
          step(next);
          // Each job waits in one queue, or is at one worker that holds its lease.
          const queued = [...state.queues.values()].flat();
          const leased = [...state.workers.values()].flatMap(({ connection, jobs }) =>
            [...jobs].map((id) => {
              expect(state.jobs.get(id)?.connection).toBe(connection);
              return id;
            }),
          );
          expect([...queued, ...leased].toSorted()).toEqual([...state.jobs.keys()].toSorted());
        }
        // The passing of time ends all remaining jobs.
        for (let i = 0; i < 12; i++) step({ do: "wait", ms: LIMITS.queueWaitMs });

        expect(ended.toSorted()).toEqual(accepted.toSorted());
        expect(state.jobs.size).toBe(0);
        expect(state.queues.size).toBe(0);
        expect(state.memory).toEqual(emptyMemory());
        for (const available of state.available.values()) expect(available.size).toBeGreaterThan(0);
        for (const left of state.workers.values()) expect(left.jobs.size).toBe(0);
      }),
      { numRuns: 400 },
    );
  });

  it("utf8Bytes counts as an encoder does", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => utf8Bytes(text) === new TextEncoder().encode(text).length),
    );
  });

  it("modelLoads states the load of each model", () => {
    const state = laneWith({ a: 1, b: 0 });
    for (const id of ["j1", "j2", "j3"]) accept(state, id);
    expect(modelLoads(state)).toEqual([
      { name: MODEL, kinds: ["chat"], workers: 2, slots: 8, free: 0, active: 1, queued: 2 },
    ]);
  });
});
