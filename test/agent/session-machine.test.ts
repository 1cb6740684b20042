import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JobFrame, PoolFrame } from "../../schema/wire/worker-frames.ts";
import {
  newSession,
  type Session,
  type SessionAction,
  type SessionEvent,
  type SessionTerms,
  step,
} from "../../worker-agent/session/session-machine.ts";

const POOL = "a".repeat(64);
const WORKER = "b".repeat(64);
const NONCE = "c".repeat(64);
const terms: SessionTerms = {
  pool: POOL,
  worker: WORKER,
  models: [{ name: "m", sha256: null, slots: 2, contextTokens: 64, kinds: ["chat"] }],
};
const challenge: PoolFrame = { type: "challenge", nonce: NONCE, pool: POOL };
const welcome: PoolFrame = { type: "welcome", worker: WORKER, heartbeatMs: 10, leaseMs: 30, agentFrameBytes: 1000 };
const [J1, J2, J3] = [randomUUID(), randomUUID(), randomUUID()];
const job = (jobId: string, lease: number, model = "m"): JobFrame => ({
  type: "job",
  jobId,
  lease,
  model,
  kind: "chat",
  request: { messages: [{ role: "user", content: "?" }], stream: true },
  deadlineMs: 1,
});
const frame = (it: PoolFrame): SessionEvent => ({ type: "frame", frame: it });

/** The actions of the last step, or the code of the first refusal. */
function outcomeOf(...events: SessionEvent[]): readonly SessionAction[] | string {
  let session: Session = newSession;
  let actions: readonly SessionAction[] = [];
  for (const event of events) {
    const next = step(session, event, terms);
    if (!next.ok) return next.code;
    session = next.session;
    actions = next.actions;
  }
  return actions;
}
const open = [frame(challenge), frame(welcome)];
const ready = (received: number, free: number): SessionAction => ({
  type: "ready",
  received,
  slots: [{ model: "m", free }],
});
const types = (actions: readonly SessionAction[] | string) =>
  typeof actions === "string" ? actions : actions.map(({ type }) => type);

describe("a session", () => {
  it.each<[what: string, events: SessionEvent[], want: string | string[]]>([
    ["proves itself to the pool of its token", [frame(challenge)], ["prove"]],
    ["refuses another pool", [frame({ ...challenge, pool: WORKER })], "session/wrong-pool"],
    ["refuses to be another worker", [frame(challenge), frame({ ...welcome, worker: POOL })], "session/wrong-worker"],
    ["refuses a welcome that it did not ask for", [frame(welcome)], "session/unexpected-frame"],
    ["refuses a second challenge", [frame(challenge), frame(challenge)], "session/unexpected-frame"],
    ["refuses a job before the welcome", [frame(challenge), frame(job(J1, 1))], "session/unexpected-frame"],
    ["offers its slots when welcomed", open, ["welcomed", "ready"]],
    ["starts a job", [...open, frame(job(J1, 1))], ["start"]],
    ["refuses a model that it does not have", [...open, frame(job(J1, 1, "x"))], ["refuse", "ready"]],
    ["ignores a repeated lease", [...open, frame(job(J1, 1)), frame(job(J1, 1))], []],
    ["ignores an older lease", [...open, frame(job(J1, 2)), frame(job(J1, 1))], []],
    ["drops the older lease for a newer", [...open, frame(job(J1, 1)), frame(job(J1, 2))], ["abort", "start"]],
    ["aborts a cancelled job", [...open, frame(job(J1, 1)), frame({ type: "cancel", jobId: J1, lease: 1 })], ["abort"]],
    [
      "aborts a rejected job",
      [...open, frame(job(J1, 1)), frame({ type: "rejected", jobId: J1, lease: 1 })],
      ["abort"],
    ],
    [
      "does not abort for another lease",
      [...open, frame(job(J1, 2)), frame({ type: "cancel", jobId: J1, lease: 1 })],
      [],
    ],
    ["ignores a cancel for an unknown job", [...open, frame({ type: "cancel", jobId: J1, lease: 1 })], []],
    [
      "refuses a job without a free slot",
      [...open, frame(job(J1, 1)), frame(job(J2, 2)), frame(job(J3, 3))],
      ["refuse", "ready"],
    ],
    ["drains immediately when idle", [...open, { type: "drain" }], ["announce-drain", "drained"]],
    ["drains immediately before it is open", [{ type: "drain" }], ["drained"]],
    ["drains once", [...open, frame(job(J1, 1)), { type: "drain" }, { type: "drain" }], []],
    ["takes no job while it drains", [...open, frame(job(J1, 1)), { type: "drain" }, frame(job(J2, 2))], ["refuse"]],
    [
      "has drained when its last job ends",
      [...open, frame(job(J1, 1)), { type: "drain" }, { type: "ended", jobId: J1, lease: 1 }],
      ["drained"],
    ],
  ])("%s", (_what, events, want) => expect(types(outcomeOf(...events))).toEqual(want));

  it("frees a slot only when its engine has stopped", () => {
    const cancelled = [...open, frame(job(J1, 1)), frame({ type: "cancel", jobId: J1, lease: 1 } as const)];
    expect(outcomeOf(...cancelled, frame(job(J2, 2)), frame(job(J3, 3)))).toMatchObject([
      { type: "refuse" },
      ready(3, 0),
    ]);
    expect(outcomeOf(...cancelled, { type: "ended", jobId: J1, lease: 1 })).toEqual([ready(1, 2)]);
  });

  it("never runs more jobs than it has slots, and always offers the free ones", () => {
    const jobId = fc.constantFrom(J1, J2, J3);
    const lease = fc.integer({ min: 1, max: 5 });
    const event = fc.oneof<fc.Arbitrary<SessionEvent>[]>(
      fc.record({ jobId, lease }).map((it) => frame(job(it.jobId, it.lease))),
      fc.record({ jobId, lease }).map((it) => frame({ type: "cancel", ...it })),
      fc.record({ jobId, lease }).map((it) => ({ type: "ended", ...it })),
      fc.constant<SessionEvent>({ type: "drain" }),
    );
    fc.assert(
      fc.property(fc.array(event), (events) => {
        let session: Session = newSession;
        const running = new Set<string>();
        for (const one of [...open, ...events]) {
          // Only running jobs can end.
          if (one.type === "ended" && !running.delete(`${one.jobId}/${one.lease}`)) continue;
          const next = step(session, one, terms);
          if (!next.ok) throw new Error(next.code);
          for (const action of next.actions) {
            if (action.type === "start") {
              expect(session.draining).toBe(false);
              expect(running.has(`${action.job.jobId}/${action.job.lease}`)).toBe(false);
              running.add(`${action.job.jobId}/${action.job.lease}`);
            }
            if (action.type === "ready") expect(action.slots).toEqual([{ model: "m", free: 2 - running.size }]);
          }
          session = next.session;
          expect(running.size).toBeLessThanOrEqual(2);
        }
      }),
    );
  });
});
