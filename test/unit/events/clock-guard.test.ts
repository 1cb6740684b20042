import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { aheadOfPeerMs, clockRefusal } from "../../../edge/events/clock-guard-rules.ts";
import { compare, NEVER, tick } from "../../../edge/events/clock-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const NOW_US = 1_800_000_000_000_000;
const JUMP_US = LIMITS.clockJumpMs * 1_000;
const at = (physical_us: number) => ({ physical_us, logical: 0 });

describe("the wall clock", () => {
  it.each<[what: string, sinceLastUs: number, confirmedUs: number, aheadOfPeers: number, want: string | null]>([
    ["that advances", 1, 0, 0, null],
    ["a month later", JUMP_US, 0, 0, null],
    ["more than a month later", JUMP_US + 1, 0, 0, "pool/clock-jumped"],
    ["years later", 12 * JUMP_US, 0, 0, "pool/clock-jumped"],
    ["years later, confirmed", 12 * JUMP_US, NOW_US, 0, null],
    ["years later, confirmed a month ago", 12 * JUMP_US, NOW_US - JUMP_US - 1, 0, "pool/clock-jumped"],
    ["that stepped back", -JUMP_US, 0, 0, null],
    ["that one peer reports as ahead", 1, 0, 1, null],
    ["that two peers report as ahead", 1, 0, 2, "pool/clock-ahead"],
    ["that two peers report as ahead, though it was confirmed", 1, NOW_US, 2, "pool/clock-ahead"],
  ])("%s", (_what, sinceLastUs, confirmedUs, aheadOfPeers, want) => {
    const clock = at(NOW_US - sinceLastUs);
    expect(clockRefusal(NOW_US, { clock, confirmedUs, aheadOfPeers })).toBe(want);
  });

  it("is trusted while the log is empty", () => {
    expect(clockRefusal(NOW_US, { clock: NEVER, confirmedUs: 0, aheadOfPeers: 0 })).toBe(null);
  });

  it("moves the log's clock forward only, and never by more than a month without a confirmation", () => {
    const walls = fc.array(
      fc.record({ moveUs: fc.integer({ min: -4 * JUMP_US, max: 4 * JUMP_US }), confirms: fc.boolean() }),
    );
    fc.assert(
      fc.property(walls, (steps) => {
        let clock = at(NOW_US);
        let wallUs = NOW_US;
        let confirmedUs = 0;
        for (const { moveUs, confirms } of steps) {
          wallUs = Math.max(0, wallUs + moveUs);
          if (confirms) confirmedUs = wallUs;
          const before = clock;
          if (clockRefusal(wallUs, { clock, confirmedUs, aheadOfPeers: 0 }) === null) clock = tick(clock, wallUs);
          else expect(confirms).toBe(false);
          expect(compare(clock, before)).toBeGreaterThanOrEqual(0);
          expect(clock.physical_us - Math.max(before.physical_us, confirmedUs)).toBeLessThanOrEqual(JUMP_US);
        }
      }),
    );
  });
});

it.each<[what: string, headers: Record<string, string>, want: number | null]>([
  ["a minute and a half behind us", { date: "Wed, 01 Jan 2025 00:00:00 GMT" }, 90_000],
  ["ahead of us", { date: "Wed, 01 Jan 2025 00:05:00 GMT" }, -210_000],
  ["from a cache", { date: "Wed, 01 Jan 2025 00:00:00 GMT", age: "80" }, null],
  ["absent", {}, null],
  ["not a time", { date: "yesterday" }, null],
])("a peer's time, %s", (_what, headers, want) => {
  expect(aheadOfPeerMs(new Headers(headers), Date.parse("2025-01-01T00:01:30Z"))).toBe(want);
});
