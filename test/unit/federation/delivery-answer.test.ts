import { describe, expect, it } from "vitest";
import { readEventPushAnswer } from "../../../edge/federation/delivery/delivery-answer-rules.ts";
import type { Outcome } from "../../../edge/federation/delivery/delivery-machine.ts";
import { errorBody } from "../../../edge/http/error-body.ts";
import { readRetryAfter } from "../../../edge/http/retry-after-rules.ts";

const pushed = (accepted: number, duplicates: number, rejected: number) => ({
  accepted,
  duplicates,
  rejected,
  errors: Array.from({ length: rejected }, () => ({ content_id: "00", code: "events/forbidden" })),
  receiver_hlc: { physical_us: 1, logical: 0 },
  receiver_head_seq: 1,
});
const answered = (status: number, retryAfterSeconds: number | null = null): Outcome => ({
  type: "answered",
  status,
  retryAfterSeconds,
});
const garbled: Outcome = { type: "garbled" };
const refused = errorBody("federation/unauthenticated");

describe("an answer to a push", () => {
  it.each<[what: string, status: number, body: unknown, outcome: Outcome, saysOfEvents: boolean]>([
    ["accepted", 200, pushed(1, 0, 0), answered(200), true],
    ["a duplicate", 200, pushed(0, 1, 0), answered(200), true],
    ["accepted in part", 200, pushed(1, 0, 1), answered(200), true],
    ["nothing accepted", 400, pushed(0, 0, 1), answered(400), true],
    ["duplicates, and nothing accepted", 400, pushed(0, 1, 1), answered(200), true],
    ["nothing accepted, with a success status", 200, pushed(0, 0, 1), answered(400), true],
    ["zero for everything", 200, pushed(0, 0, 0), answered(400), true],
    ["with an extra member", 200, { ...pushed(1, 0, 0), more: 1 }, garbled, false],
    ["without its clock", 200, { ...pushed(1, 0, 0), receiver_hlc: null }, garbled, false],
    ["of another endpoint", 200, { status: "registered" }, garbled, false],
    ["an error with a success status", 200, refused, garbled, false],
    ["not JSON", 200, null, garbled, false],
    ["an empty body", 204, null, garbled, false],
    ["a redirect", 307, null, garbled, false],
    ["a redirect with a valid body", 307, pushed(1, 0, 0), garbled, false],
    ["a refusal", 401, refused, answered(401), false],
    ["a refusal of the body", 400, errorBody("http/invalid-body"), answered(400), false],
    ["a refusal with an extra member", 403, { error: { code: "untrusted", since: 1 } }, answered(403), false],
    ["a refusal without a code", 403, { error: "no" }, garbled, false],
    ["an error page of a proxy", 403, null, garbled, false],
    ["gone, with any body", 410, null, answered(410), false],
    ["not found, with any body", 404, null, answered(404), false],
    ["a 429 without Retry-After", 429, null, garbled, false],
    ["a coded 429 without Retry-After", 429, errorBody("federation/rate-limited"), answered(429), false],
    ["a server error", 500, null, answered(500), false],
    ["a server error with a valid body", 500, pushed(1, 0, 0), answered(500), false],
    ["federation is off", 503, errorBody("federation/disabled"), { type: "off" }, false],
    ["a 503 of a proxy", 503, { error: "off" }, answered(503), false],
    ["not ready", 503, errorBody("pool/not-ready"), answered(503), false],
    ["federation is off, with another status", 500, errorBody("federation/disabled"), answered(500), false],
  ])("%s (%i)", (_what, status, body, outcome, saysOfEvents) => {
    const read = readEventPushAnswer({ status, body, retryAfterSeconds: null });
    expect(read).toEqual({ outcome, answer: saysOfEvents ? body : null });
  });

  it("of 429 with Retry-After is a deferral, with any body", () => {
    const { outcome } = readEventPushAnswer({ status: 429, body: null, retryAfterSeconds: 7 });
    expect(outcome).toEqual(answered(429, 7));
  });
});

describe("Retry-After", () => {
  const NOW = Date.parse("2026-04-16T17:00:00.250Z");
  it.each<[header: string | null, seconds: number | null]>([
    [null, null],
    ["0", 0],
    ["7", 7],
    ["31536000", 31_536_000],
    ["Thu, 16 Apr 2026 17:00:10 GMT", 10],
    ["Thu, 16 Apr 2026 16:00:00 GMT", 0],
    ["Thu, 99 Apr 2026 16:00:00 GMT", null],
    ["", null],
    ["-1", null],
    ["1.5", null],
    ["soon", null],
    ["Infinity", null],
  ])("%j is %j seconds", (header, seconds) => expect(readRetryAfter(header, NOW)).toBe(seconds));
});
