import { describe, expect, it } from "vitest";
import { afterCalled, afterPushed, type Unavailability } from "../../../edge/federation/delivery/availability-rules.ts";
import type { Outcome } from "../../../edge/federation/delivery/delivery-machine.ts";
import type { PeerAnswer } from "../../../edge/federation/delivery/peer-answer.ts";
import { errorBody } from "../../../edge/http/error-body.ts";

const NOW = 1_776_358_800_000;
const SINCE = NOW - 60_000;
const away = (reason: Unavailability["reason"], changes: Partial<Unavailability> = {}): Unavailability => ({
  reason,
  sinceMs: NOW,
  isOfPushes: false,
  ...changes,
});
const off = away("off", { sinceMs: SINCE });
const silent = away("silent", { sinceMs: SINCE });
const failing = away("error", { sinceMs: SINCE, isOfPushes: true });
const down = away("error", { sinceMs: SINCE });

describe("after a push", () => {
  const answered = (status: number): Outcome => ({ type: "answered", status, retryAfterSeconds: null });
  it.each<[given: Unavailability | null, outcome: Outcome, want: Unavailability | null]>([
    [null, answered(200), null],
    [null, { type: "unreachable" }, away("silent")],
    [null, { type: "off" }, away("off")],
    [null, answered(500), away("error", { isOfPushes: true })],
    [null, { type: "garbled" }, away("error", { isOfPushes: true })],
    [off, { type: "off" }, off],
    [silent, { type: "unreachable" }, silent],
    [failing, answered(500), failing],
    [off, { type: "unreachable" }, away("silent")],
    [silent, answered(502), away("error", { isOfPushes: true })],
    [down, answered(502), down],
    [failing, answered(200), null],
    [silent, answered(401), null],
    [off, answered(429), null],
  ])("%o, and then %o: %o", (given, outcome, want) => expect(afterPushed(given, outcome, NOW)).toEqual(want));
});

describe("after a call of ours", () => {
  const answered = (status: number, body: unknown = null): PeerAnswer => ({
    ok: true,
    status,
    body,
    retryAfterSeconds: null,
    aheadMs: null,
  });
  const switchedOff = answered(503, errorBody("federation/disabled"));
  it.each<[given: Unavailability | null, answer: PeerAnswer, want: Unavailability | null]>([
    [null, answered(200), null],
    [null, switchedOff, away("off")],
    [null, answered(502), away("error")],
    [null, { ok: false, code: "federation/unreachable" }, away("silent")],
    [off, switchedOff, off],
    [off, answered(200), null],
    [silent, answered(200), null],
    [down, answered(200), null],
    // The peer answers messages with errors, and everything else normally: this shows nothing.
    [failing, answered(200), failing],
    // No call was answered before, so an answer can show that the peer is back.
    [failing, answered(502), down],
    // A refusal shows neither.
    [off, answered(403), off],
    [null, answered(401), null],
    // Our own policy forbade the call.
    [off, { ok: false, code: "federation/disabled" }, off],
    [null, { ok: false, code: "federation/private-address" }, null],
  ])("%o, and then %o: %o", (given, answer, want) => expect(afterCalled(given, answer, NOW)).toEqual(want));
});
