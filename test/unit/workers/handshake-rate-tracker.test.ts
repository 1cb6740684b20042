import * as fc from "fast-check";
import { expect, it } from "vitest";
import { HandshakeRates } from "../../../edge/workers/handshake-rate-tracker.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const EVERY_MS = 60_000 / LIMITS.handshakesPerMinute;

it("admits a minute's worth at once, then one each ten seconds, and states the wait", () => {
  const rates = new HandshakeRates();
  const take = (nowMs: number) => rates.take("a", nowMs);
  expect(Array.from({ length: LIMITS.handshakesPerMinute }, () => take(0))).toEqual(
    Array(LIMITS.handshakesPerMinute).fill(0),
  );
  expect([take(0), take(4_000), take(EVERY_MS), take(EVERY_MS)]).toEqual([EVERY_MS, EVERY_MS - 4_000, 0, EVERY_MS]);
  // Another token is its own matter.
  expect(rates.take("b", 0)).toBe(0);
});

it("in any period a token gets at most its burst and its rate, and a token that waits as long as stated is admitted", () => {
  const step = fc.record({ afterMs: fc.integer({ min: -5_000, max: 30_000 }), waits: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const rates = new HandshakeRates();
      let nowMs = 1_000_000;
      let highestMs = nowMs;
      let passedMs = 0;
      let admitted = 0;
      for (const { afterMs, waits } of steps) {
        nowMs += afterMs;
        // What a clock gains after it stepped back counts twice; no more than that.
        if (afterMs > 0) passedMs += afterMs;
        highestMs = Math.max(highestMs, nowMs);
        const waitMs = rates.take("a", nowMs);
        expect(waitMs).toBeLessThanOrEqual(EVERY_MS);
        if (waitMs === 0) admitted += 1;
        else if (waits) {
          nowMs += waitMs;
          passedMs += waitMs;
          expect(rates.take("a", nowMs)).toBe(0);
          admitted += 1;
        }
      }
      expect(admitted).toBeLessThanOrEqual(LIMITS.handshakesPerMinute + passedMs / EVERY_MS);
    }),
  );
});

it("admits a token after the stated wait, however the wall clock stepped before", () => {
  const step = fc.record({ jumpMs: fc.integer({ min: -1e8, max: 1e8 }), takes: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 50 }), (steps) => {
      const rates = new HandshakeRates();
      let nowMs = 1e10;
      for (const { jumpMs, takes } of steps) {
        nowMs += jumpMs;
        for (let i = 0; i < takes; i++) rates.take("a", nowMs);
        const waitMs = rates.take("a", nowMs);
        expect(waitMs).toBeLessThanOrEqual(EVERY_MS);
        nowMs += waitMs;
        if (waitMs > 0) expect(rates.take("a", nowMs)).toBe(0);
      }
    }),
  );
});

it("is not locked out by a clock that steps back an hour after the token used its burst", () => {
  const rates = new HandshakeRates();
  const HOUR_MS = 3_600_000;
  for (let i = 0; i < LIMITS.handshakesPerMinute; i++) rates.take("a", HOUR_MS);
  expect(rates.take("a", 0)).toBe(EVERY_MS);
  expect(rates.take("a", EVERY_MS)).toBe(0);
});

it("keeps what was paid before the clock stepped back", () => {
  const rates = new HandshakeRates();
  for (let i = 0; i < LIMITS.handshakesPerMinute; i++) rates.take("a", 60_000);
  expect(rates.take("a", 60_000 + EVERY_MS - 1)).toBe(1);
  expect([rates.take("a", 0), rates.take("a", 1)]).toEqual([1, 0]);
});

it("forgets tokens that owe nothing when it remembers very many", () => {
  const rates = new HandshakeRates();
  for (let i = 0; i <= LIMITS.socketsPerLane; i++) rates.take(`token ${i}`, 0);
  rates.take("one more", 120_000);
  expect(rates.size).toBe(1);
});
