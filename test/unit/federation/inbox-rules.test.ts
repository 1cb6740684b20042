import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GUARDS, type GuardContext, passGuards } from "../../../edge/federation/inbox/guard-rules.ts";
import { approveRequest, type KnownRequest, receiveRequest } from "../../../edge/federation/inbox/inbox-rules.ts";
import { type RequestState, step } from "../../../edge/federation/inbox/received-request-machine.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const NOW = Date.UTC(2026, 11, 1, 12);
const HOUR = 3_600_000;

/** A write request that passes every guard. */
const PASSES: GuardContext = Object.freeze({
  nowMs: NOW,
  isSigned: true,
  kind: "write",
  touchesEconomy: true,
  heedsSlashing: true,
  trust: 3,
  policy: {
    accept_reads: true,
    accept_writes: true,
    accept_settlement: true,
    peer_pending_requests: LIMITS.adminRequestsPending,
  },
  signatureVersion: 2,
  adminSignature: "valid",
  adminSignatureExpiresAt: NOW / 1_000 + 60,
  pending: 0,
  firstExpiryMs: null,
  approvedWriteAtMs: null,
  openSlashings: 0,
});

interface Failure {
  what: string;
  change: Partial<GuardContext>;
  /** The answer when all earlier guards pass. */
  verdict: object;
  /** Of a step that otherwise stops writes only. */
  stopsReads?: true;
}

/** One failure for each guard, in the order of the guards. */
const FAILURES: readonly Failure[] = [
  { what: "1 unsigned", change: { isSigned: false }, verdict: { step: 1, code: "federation/unauthenticated" } },
  { what: "2 trust 2", change: { trust: 2 }, verdict: { step: 2, code: "federation/untrusted" } },
  {
    what: "3 in version 1",
    change: { signatureVersion: 1 },
    verdict: { step: 3, code: "federation/admin-key-required" },
  },
  {
    what: "3 writes are off",
    change: {
      policy: {
        accept_reads: true,
        accept_writes: false,
        accept_settlement: true,
        peer_pending_requests: LIMITS.adminRequestsPending,
      },
    },
    verdict: { step: 3, code: "federation/action-disabled" },
  },
  {
    what: "3 the economy is closed",
    change: { policy: { ...PASSES.policy, accept_settlement: false } },
    verdict: { step: 3, code: "federation/action-disabled" },
    stopsReads: true,
  },
  {
    what: "3 no admin's signature",
    change: { adminSignature: "absent", adminSignatureExpiresAt: null },
    verdict: { step: 3, code: "federation/admin-key-required" },
  },
  {
    what: "4 ten are pending",
    change: { pending: LIMITS.adminRequestsPending, firstExpiryMs: NOW + HOUR },
    verdict: { step: 4, code: "federation/too-many-pending", retryAfterSeconds: 3_600 },
  },
  {
    what: "5 a write was approved an hour ago",
    change: { approvedWriteAtMs: NOW - HOUR },
    verdict: { step: 5, code: "federation/cooldown", retryAfterSeconds: 5 * 3_600 },
  },
  { what: "6 a slashing event is open", change: { openSlashings: 1 }, verdict: { type: "blocked" } },
];

it("there is a failure for each guard", () => {
  expect(FAILURES.map(({ what }) => Number(what[0]))).toEqual(GUARDS.map((guard) => guard.step));
});

it("a request that fails no guard passes, on arrival and at approval", () => {
  expect(passGuards(PASSES, "arrival")).toEqual({ type: "passed" });
  expect(passGuards(PASSES, "approval")).toEqual({ type: "passed" });
});

const pairs = FAILURES.flatMap((first, i) =>
  FAILURES.slice(i).map((second) => [first.what, second.what, first, second] as const),
);

it.each(pairs)("%s answers first beside %s", (_first, _second, first, second) => {
  const verdict = passGuards({ ...PASSES, ...second.change, ...first.change }, "arrival");
  expect(verdict).toEqual({ type: "stopped", ...first.verdict });
});

it.each(FAILURES)("at approval only steps 2, 3, 5 and 6 are asked: $what", ({ what, change, verdict }) => {
  const isAsked = !["1", "4"].includes(what[0] ?? "");
  const want = isAsked ? { type: "stopped", ...verdict } : { type: "passed" };
  expect(passGuards({ ...PASSES, ...change }, "approval")).toEqual(want);
});

it.each<[what: string, change: Partial<GuardContext>, want: string]>([
  ["a read needs no admin key", { kind: "read", adminSignature: "absent", adminSignatureExpiresAt: null }, "passed"],
  ["a read knows no cooldown", { kind: "read", approvedWriteAtMs: NOW }, "passed"],
  [
    "a read has its own switch",
    {
      kind: "read",
      policy: {
        accept_reads: false,
        accept_writes: true,
        accept_settlement: true,
        peer_pending_requests: LIMITS.adminRequestsPending,
      },
    },
    "federation/action-disabled",
  ],
  ["a write in version 1", { signatureVersion: 1 }, "federation/admin-key-required"],
  ["an admin's signature that does not verify", { adminSignature: "invalid" }, "federation/admin-key-required"],
  ["an admin's signature in its last second", { adminSignatureExpiresAt: NOW / 1_000 + 1 }, "passed"],
  [
    "an admin's signature that has just expired",
    { adminSignatureExpiresAt: NOW / 1_000 },
    "federation/admin-key-required",
  ],
  ["nine pending requests", { pending: 9 }, "passed"],
  ["a cooldown that is over", { approvedWriteAtMs: NOW - 6 * HOUR }, "passed"],
  ["a cooldown that lacks one second", { approvedWriteAtMs: NOW - 6 * HOUR + 1_000 }, "federation/cooldown"],
  [
    "an approval in the future, as after a clock step back",
    { approvedWriteAtMs: NOW + 48 * HOUR },
    "federation/cooldown",
  ],
  ["an action that does not heed slashing", { heedsSlashing: false, openSlashings: 3 }, "passed"],
])("%s: %s", (_what, change, want) => {
  const verdict = passGuards({ ...PASSES, ...change }, "arrival");
  expect(verdict.type === "stopped" ? verdict.code : verdict.type).toBe(want);
});

it("a cooldown is never longer than six hours, even if the clock stepped back", () => {
  const verdict = passGuards({ ...PASSES, approvedWriteAtMs: NOW + 48 * HOUR }, "arrival");
  expect(verdict).toMatchObject({ retryAfterSeconds: 6 * 3_600 });
});

describe("a repeated request", () => {
  const known: KnownRequest = {
    state: { status: "executed", receivedAtMs: NOW - HOUR, expiresAtMs: NOW + HOUR },
    contentsHash: "a",
  };

  it("with the same contents gets the stored state, even where a new request would be refused", () => {
    const context = { ...PASSES, approvedWriteAtMs: NOW - HOUR };
    expect(receiveRequest(known, "a", context)).toEqual({ type: "repeated", state: known.state });
  });

  it("with other contents is refused", () => {
    expect(receiveRequest(known, "b", PASSES)).toEqual({ type: "reused", code: "federation/request-id-reused" });
  });

  it("of a peer that lost its trust learns nothing", () => {
    expect(receiveRequest(known, "a", { ...PASSES, trust: 2 })).toMatchObject({ code: "federation/untrusted" });
  });
});

describe("approval", () => {
  const state = (status: RequestState["status"]): RequestState => ({
    status,
    receivedAtMs: NOW,
    expiresAtMs: NOW + 24 * HOUR,
  });

  it.each<
    [what: string, status: RequestState["status"], hasReason: boolean, change: Partial<GuardContext>, want: string]
  >([
    ["passes every guard", "pending", false, {}, "approved"],
    ["is blocked, without a reason", "blocked", false, { openSlashings: 1 }, "federation/slashing-pending"],
    ["is blocked, with a reason", "blocked", true, { openSlashings: 1 }, "approved"],
    ["was blocked, and the slashing event is closed", "blocked", false, {}, "approved"],
    [
      "was pending, and a slashing event was opened since",
      "pending",
      false,
      { openSlashings: 1 },
      "federation/slashing-pending",
    ],
    ["has a reason that is for no other guard", "pending", true, { trust: 2 }, "federation/untrusted"],
    ["is approved already, and would be refused now", "executed", false, { trust: 0 }, "executed"],
  ])("of a request that %s", (_what, status, hasReason, change, want) => {
    const outcome = approveRequest(state(status), hasReason, { ...PASSES, ...change });
    expect(outcome.ok ? outcome.state.status : outcome.code).toBe(want);
  });

  it("says how long the cooldown lasts", () => {
    const outcome = approveRequest(state("pending"), false, { ...PASSES, approvedWriteAtMs: NOW - HOUR });
    expect(outcome).toEqual({ ok: false, code: "federation/cooldown", retryAfterSeconds: 5 * 3_600 });
  });
});

describe("the life of a request", () => {
  const at = (status: RequestState["status"]): RequestState => ({
    status,
    receivedAtMs: NOW,
    expiresAtMs: NOW + 24 * HOUR,
  });

  it.each<[status: RequestState["status"], event: Parameters<typeof step>[1], nowMs: number, want: string]>([
    ["pending", { type: "approve" }, NOW, "approved run"],
    ["blocked", { type: "approve" }, NOW, "approved run"],
    ["approved", { type: "approve" }, NOW, "approved nothing"],
    ["executed", { type: "approve" }, NOW, "executed nothing"],
    ["failed", { type: "approve" }, NOW, "failed nothing"],
    ["rejected", { type: "approve" }, NOW, "federation/request-decided"],
    ["expired", { type: "approve" }, NOW, "federation/request-decided"],
    ["pending", { type: "approve" }, NOW + 24 * HOUR, "federation/request-decided"],
    ["pending", { type: "reject" }, NOW, "rejected call-back"],
    ["blocked", { type: "reject" }, NOW, "rejected call-back"],
    ["rejected", { type: "reject" }, NOW, "rejected nothing"],
    ["approved", { type: "reject" }, NOW, "federation/request-decided"],
    ["pending", { type: "time" }, NOW + 24 * HOUR - 1, "pending nothing"],
    ["pending", { type: "time" }, NOW + 24 * HOUR, "expired call-back"],
    ["blocked", { type: "time" }, NOW + 24 * HOUR, "expired call-back"],
    ["approved", { type: "time" }, NOW + 48 * HOUR, "approved nothing"],
    ["approved", { type: "ran", isDone: true }, NOW + 48 * HOUR, "executed call-back"],
    ["approved", { type: "ran", isDone: false }, NOW, "failed call-back"],
    ["executed", { type: "ran", isDone: true }, NOW, "executed nothing"],
    ["pending", { type: "ran", isDone: true }, NOW, "pending nothing"],
    ["executed", { type: "callback-given-up" }, NOW, "executed_no_callback nothing"],
    ["rejected", { type: "callback-given-up" }, NOW, "rejected nothing"],
  ])("%s, %o", (status, event, nowMs, want) => {
    const next = step(at(status), event, nowMs);
    expect(next.ok ? `${next.state.status} ${next.next}` : next.code).toBe(want);
  });
});

// ---- No order of messages, crashes and clock changes runs an action that the guards did not pass.

type Command =
  | { type: "receive"; id: number; contents: number; failures: readonly number[]; kind: "read" | "write" }
  | { type: "approve"; id: number; failures: readonly number[]; hasReason: boolean }
  | { type: "reject"; id: number }
  | { type: "time" }
  | { type: "clock"; byMs: number }
  | { type: "handler answers"; isDone: boolean }
  | { type: "crash" };

const anyFailure = fc.integer({ min: 0, max: FAILURES.length - 1 });
const failures = fc.oneof(
  { weight: 3, arbitrary: fc.constant([]) },
  { weight: 3, arbitrary: fc.tuple(anyFailure) },
  fc.tuple(anyFailure, anyFailure),
);
const id = fc.integer({ min: 0, max: 3 });
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("receive" as const),
      id,
      contents: fc.integer({ min: 0, max: 1 }),
      failures,
      kind: fc.constantFrom("read" as const, "write" as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("approve" as const), id, failures, hasReason: fc.boolean() }) },
  fc.record({ type: fc.constant("reject" as const), id }),
  fc.constant({ type: "time" as const }),
  fc.record({ type: fc.constant("clock" as const), byMs: fc.integer({ min: -30 * HOUR, max: 30 * HOUR }) }),
  fc.record({ type: fc.constant("handler answers" as const), isDone: fc.boolean() }),
  fc.constant({ type: "crash" as const }),
);

/** Several changes at once. A switch that one of them closes stays closed. */
function merged(changes: readonly Partial<GuardContext>[]): Partial<GuardContext> {
  const policies = changes.flatMap(({ policy }) => policy ?? []);
  const isOpen = (name: "accept_reads" | "accept_writes" | "accept_settlement") =>
    policies.every((policy) => policy[name]);
  const policy = {
    ...PASSES.policy,
    accept_reads: isOpen("accept_reads"),
    accept_writes: isOpen("accept_writes"),
    accept_settlement: isOpen("accept_settlement"),
  };
  return { ...Object.assign({}, ...changes), policy };
}

/** The steps whose guards fail for such a request: stated here again, without the guards' code. */
function failedSteps(chosen: readonly number[], kind: "read" | "write", isApproval: boolean): Set<number> {
  const never = kind === "read" ? [3, 5] : [];
  const stops = chosen.filter((i) => FAILURES[i]?.stopsReads || !never.includes(Number(FAILURES[i]?.what[0])));
  const steps = stops.map((i) => Number(FAILURES[i]?.what[0]));
  return new Set(steps.filter((one) => !(isApproval && [1, 4].includes(one))));
}

it("an action runs only after each guard has passed that must pass, in any order of messages, crashes and clock changes", () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40, size: "max" }), (commands) => {
      let nowMs = NOW;
      const disk = new Map<number, KnownRequest & { kind: "read" | "write" }>();
      const landed = new Map<number, Set<number>>();
      const approvals = new Map<number, { failed: Set<number>; hasReason: boolean }>();
      const ran = new Set<number>();
      const contextOf = (chosen: readonly number[], kind: "read" | "write"): GuardContext => {
        const changed = merged(chosen.flatMap((i) => FAILURES[i]?.change ?? []));
        const shifted = nowMs - NOW;
        return {
          ...PASSES,
          kind,
          ...changed,
          nowMs,
          adminSignatureExpiresAt: changed.adminSignature === "absent" ? null : nowMs / 1_000 + 60,
          approvedWriteAtMs: changed.approvedWriteAtMs === undefined ? null : NOW - HOUR + shifted,
        };
      };
      const apply = (request: number, given: KnownRequest & { kind: "read" | "write" }, state: RequestState) =>
        disk.set(request, { ...given, state });
      for (const one of commands) {
        if (one.type === "clock") nowMs += one.byMs;
        else if (one.type === "receive") {
          const known = disk.get(one.id) ?? null;
          const outcome = receiveRequest(known, String(one.contents), contextOf(one.failures, one.kind));
          if (outcome.type !== "landed") continue;
          expect(known).toBeNull();
          disk.set(one.id, { state: outcome.state, contentsHash: String(one.contents), kind: one.kind });
          landed.set(one.id, failedSteps(one.failures, one.kind, false));
        } else if (one.type === "approve") {
          const known = disk.get(one.id);
          if (known === undefined) continue;
          const outcome = approveRequest(known.state, one.hasReason, contextOf(one.failures, known.kind));
          if (!outcome.ok || outcome.next !== "run") continue;
          apply(one.id, known, outcome.state);
          approvals.set(one.id, { failed: failedSteps(one.failures, known.kind, true), hasReason: one.hasReason });
        } else if (one.type === "handler answers") {
          // The alarm runs what is approved.
          for (const [request, known] of disk) {
            if (known.state.status !== "approved") continue;
            ran.add(request);
            const outcome = step(known.state, { type: "ran", isDone: one.isDone }, nowMs);
            if (outcome.ok) apply(request, known, outcome.state);
          }
        } else if (one.type === "crash") {
          // The handler ran, and its answer was lost: the request is still approved, and runs again.
          for (const [request, known] of disk) if (known.state.status === "approved") ran.add(request);
        } else {
          for (const [request, known] of disk) {
            if (one.type === "reject" && request !== one.id) continue;
            const outcome = step(known.state, { type: one.type === "reject" ? "reject" : "time" }, nowMs);
            if (outcome.ok) apply(request, known, outcome.state);
          }
        }
      }
      for (const request of ran) {
        const arrival = landed.get(request) ?? new Set([0]);
        arrival.delete(6);
        expect([...arrival]).toEqual([]);
        const approval = approvals.get(request);
        expect(approval).toBeDefined();
        const left = new Set(approval?.failed);
        if (approval?.hasReason) left.delete(6);
        expect([...left]).toEqual([]);
      }
    }),
    { numRuns: 500 },
  );
});
