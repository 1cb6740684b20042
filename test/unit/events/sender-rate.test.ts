import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { eventsWorth, SenderRates } from "../../../edge/events/sender-rate-tracker.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const MINUTE_MS = 60_000;

describe("events of one sender", () => {
  it("are limited to one minute's amount at once, then to the rate; other senders have rates of their own", () => {
    const rates = new SenderRates();
    rates.spend("a", 600, 600, 0);
    expect(rates.waitMs("a", 0)).toBe(0);
    // A page that starts within the rate is taken whole.
    rates.spend("a", 500, 600, 0);
    expect([rates.waitMs("a", 0), rates.waitMs("b", 0)]).toEqual([50_000, 0]);
    expect([rates.waitMs("a", 49_999), rates.waitMs("a", 50_000)]).toEqual([1, 0]);
  });

  it("cost nothing if the log stored none of them", () => {
    const rates = new SenderRates();
    for (let i = 0; i < 1_000; i++) rates.spend("a", 0, 1, 0);
    expect(rates.waitMs("a", 0)).toBe(0);
  });

  it("neither wait longer nor lose their debt when the wall clock steps back", () => {
    const rates = new SenderRates();
    rates.spend("a", 1_200, 600, 3_600_000);
    expect(rates.waitMs("a", 3_600_000)).toBe(MINUTE_MS);
    expect(rates.waitMs("a", 0)).toBe(MINUTE_MS);
    rates.spend("a", 0, 600, 0);
    expect(rates.waitMs("a", MINUTE_MS)).toBe(0);
  });

  it("may be sent again after the announced wait, although the clock had stepped back and none was accepted", () => {
    const rates = new SenderRates();
    rates.spend("a", 1_200, 600, 3_600_000);
    expect(rates.waitMs("a", 0)).toBe(MINUTE_MS);
    expect(rates.waitMs("a", MINUTE_MS)).toBe(0);
  });

  it("wait only for the sender's debt, whichever way the wall clock steps", () => {
    const step = fc.record({ events: fc.integer({ min: 1, max: 2_000 }), jumpMs: fc.integer({ min: -1e8, max: 1e8 }) });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 50 }), (steps) => {
        const rates = new SenderRates();
        let [nowMs, owedMs] = [1e10, 0];
        for (const { events, jumpMs } of steps) {
          nowMs += jumpMs;
          owedMs = Math.max(0, owedMs - Math.max(0, jumpMs));
          const waitMs = rates.waitMs("a", nowMs);
          expect(waitMs).toBe(Math.max(0, owedMs - MINUTE_MS));
          nowMs += waitMs;
          owedMs = Math.max(0, owedMs - waitMs);
          expect(rates.waitMs("a", nowMs)).toBe(0);
          rates.spend("a", events, 1_000, nowMs);
          owedMs += events * (MINUTE_MS / 1_000);
        }
      }),
    );
  });

  it("never exceed the rate by more than one page, however they are sent", () => {
    const step = fc.record({ events: fc.integer({ min: 1, max: 500 }), passMs: fc.nat(20_000) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), fc.integer({ min: 100, max: 10_000 }), (steps, perMinute) => {
        const rates = new SenderRates();
        let [nowMs, kept] = [0, 0];
        for (const { events, passMs } of steps) {
          nowMs += passMs;
          if (rates.waitMs("a", nowMs) > 0) continue;
          rates.spend("a", events, perMinute, nowMs);
          kept += events;
          expect(kept).toBeLessThanOrEqual(perMinute * (1 + nowMs / MINUTE_MS) + 501);
        }
      }),
    );
  });

  it.each([
    [0, 1],
    [LIMITS.eventRateChars, 1],
    [LIMITS.eventRateChars + 1, 2],
    [16 * LIMITS.eventRateChars, 16],
  ])("of %i characters count as %i", (chars, worth) => {
    expect(eventsWorth({ event_bytes: "a".repeat(chars) })).toBe(worth);
  });
});
