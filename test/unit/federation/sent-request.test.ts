import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readCallbackAnswer, readRequestAnswer } from "../../../edge/federation/inbox/request-answer-rules.ts";
import {
  isAwaited,
  type SentEvent,
  type SentState,
  sent,
  stepSent,
} from "../../../edge/federation/inbox/sent-request-machine.ts";
import { errorBody } from "../../../edge/http/error-body.ts";
import type { SentStatus } from "../../../schema/wire/admin-requests.ts";
import type { ErrorCode } from "../../../schema/wire/errors.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const NOW = Date.UTC(2026, 11, 1, 12);
const at = (status: SentStatus): SentState => ({ ...sent(NOW), status });
const after = (state: SentState, event: SentEvent, nowMs = NOW) => {
  const step = stepSent(state, event, nowMs);
  return step.ok ? step.state.status : step.code;
};

it.each<[before: SentStatus, event: SentEvent, after: string]>([
  ["sending", { type: "accepted", status: "pending" }, "pending"],
  ["sending", { type: "accepted", status: "blocked" }, "blocked"],
  ["sending", { type: "accepted", status: "decided" }, "pending"],
  ["sending", { type: "refused" }, "refused"],
  ["sending", { type: "called-back", status: "executed" }, "executed"],
  ["executed", { type: "accepted", status: "pending" }, "executed"],
  ["executed", { type: "refused" }, "executed"],
  ["pending", { type: "called-back", status: "rejected" }, "rejected"],
  ["blocked", { type: "called-back", status: "approved" }, "approved"],
  ["approved", { type: "called-back", status: "executed" }, "executed"],
  ["approved", { type: "called-back", status: "rejected" }, "federation/request-decided"],
  ["executed", { type: "called-back", status: "executed" }, "executed"],
  ["executed", { type: "called-back", status: "failed" }, "federation/request-decided"],
  ["refused", { type: "called-back", status: "executed" }, "federation/request-decided"],
  ["expired", { type: "called-back", status: "executed" }, "executed"],
  ["expired", { type: "accepted", status: "pending" }, "expired"],
])("%s, then %o: %s", (before, event, want) => expect(after(at(before), event)).toBe(want));

it.each<[before: SentStatus, afterMs: number, want: SentStatus]>([
  ["sending", LIMITS.adminRequestMs - 1, "sending"],
  ["sending", LIMITS.adminRequestMs, "expired"],
  ["blocked", LIMITS.adminRequestMs, "expired"],
  ["approved", LIMITS.adminRequestMs, "approved"],
  ["executed", LIMITS.adminRequestMs, "executed"],
])("%s after %i ms is %s", (before, afterMs, want) =>
  expect(after(at(before), { type: "time" }, NOW + afterMs)).toBe(want),
);

describe("in any order of messages and times", () => {
  const event = fc.oneof<fc.Arbitrary<SentEvent>[]>(
    fc.record({ type: fc.constant("accepted"), status: fc.constantFrom("pending", "blocked", "decided") }),
    fc.constant({ type: "refused" }),
    fc.constant({ type: "time" }),
    fc.record({
      type: fc.constant("called-back"),
      status: fc.constantFrom("approved", "rejected", "expired", "executed", "failed"),
    }),
  );
  it("a request that the peer has decided is never awaited again, and a final result stays", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(event, fc.nat({ max: 2 * LIMITS.adminRequestMs }))), (events) => {
        let state = sent(NOW);
        for (const [each, afterMs] of events) {
          const step = stepSent(state, each, NOW + afterMs);
          if (!step.ok) continue;
          const isFinal = ["rejected", "executed", "failed", "refused"].includes(state.status);
          if (isFinal) expect(step.state.status).toBe(state.status);
          if (!isAwaited(state)) expect(isAwaited(step.state)).toBe(false);
          expect(step.isNews).toBe(step.state.status !== state.status);
          state = step.state;
        }
      }),
    );
  });
});

describe("the answer to our request", () => {
  const answered = (status: number, body: unknown, retryAfterSeconds: number | null = null) =>
    readRequestAnswer({ status, body, retryAfterSeconds });
  const coded = (status: number, code: ErrorCode, retryAfterSeconds: number | null = null) =>
    answered(status, errorBody(code), retryAfterSeconds);
  const landed = (status: string) => ({ request_id: "r", status, expires_at: 1 });

  it.each<[what: string, read: ReturnType<typeof readRequestAnswer>, outcome: object, answer: object | null]>([
    ["202 pending", answered(202, landed("pending")), { status: 200 }, { type: "accepted", status: "pending" }],
    ["200 of version 1", answered(200, { ok: true, ...landed("pending") }), { status: 200 }, { status: "pending" }],
    ["200 executed", answered(200, landed("executed")), { status: 200 }, { status: "decided" }],
    ["409 blocked", coded(409, "federation/slashing-pending"), { status: 200 }, { status: "blocked" }],
    ["403", coded(403, "federation/untrusted"), { status: 200 }, { type: "refused", code: "untrusted" }],
    ["429 cooldown", coded(429, "federation/cooldown", 9), { status: 200 }, { type: "refused", code: "cooldown" }],
    ["429 rate", coded(429, "federation/rate-limited", 9), { status: 429, retryAfterSeconds: 9 }, null],
    ["404 of another server", answered(404, "nope"), { status: 200 }, { type: "refused", code: "404" }],
    ["503 off", coded(503, "federation/disabled", 5), { type: "off" }, null],
    ["500", answered(500, "oops"), { type: "answered", status: 500 }, null],
    ["a redirect", answered(302, ""), { type: "garbled" }, null],
    ["200 of another server", answered(200, "<html>"), { type: "garbled" }, null],
  ])("%s", (_what, read, outcome, answer) => {
    expect(read.outcome).toMatchObject(outcome);
    if (answer === null) expect(read.answer).toBeNull();
    else expect(read.answer).toMatchObject(answer);
  });

  it("never shows more of the peer's words than the limit", () => {
    const { answer } = answered(403, { error: "x".repeat(10 * LIMITS.adminNoteChars) });
    expect(answer).toMatchObject({ type: "refused", words: "x".repeat(LIMITS.adminNoteChars) });
  });
});

it.each<[status: number, body: unknown, type: string]>([
  [200, { ok: true }, "answered"],
  [204, null, "answered"],
  [404, "", "answered"],
  [403, { error: "text" }, "answered"],
  [403, "a login page", "answered"],
  [503, errorBody("federation/disabled"), "off"],
  [302, "", "garbled"],
])("the answer %i %o to our callback is %s", (status, body, type) =>
  expect(readCallbackAnswer({ status, body, retryAfterSeconds: null }).outcome.type).toBe(type),
);
