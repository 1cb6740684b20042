import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { charge, owedMs, type PaidAtMs, payDebt, takeCell, waitMs } from "../../../edge/limits/gcra-rules.ts";

const NOW = 1_776_358_800_000;
const rate = fc.record({
  burst: fc.integer({ min: 1, max: 1_000 }),
  periodMs: fc.constantFrom(1_000, 60_000, 3_600_000),
});

/** The textbook form of the same limit, which counts the remaining tokens. */
class TokenBucket {
  readonly #rate: { burst: number; periodMs: number };
  #tokens: number;
  #atMs: number;

  constructor(rate: { burst: number; periodMs: number }, nowMs: number) {
    this.#rate = rate;
    this.#tokens = rate.burst;
    this.#atMs = nowMs;
  }

  /** True if the bucket is almost full or empty, so that rounding decides. */
  isClose(nowMs: number): boolean {
    return Math.abs(this.#left(nowMs) - 0.5) < 1e-3;
  }

  take(nowMs: number): boolean {
    this.#tokens = this.#left(nowMs);
    this.#atMs = nowMs;
    // `takeCell` has half a request of slack.
    if (this.#tokens < 0.5) return false;
    this.#tokens -= 1;
    return true;
  }

  #left(nowMs: number): number {
    const { burst, periodMs } = this.#rate;
    return Math.min(burst, this.#tokens + ((nowMs - this.#atMs) * burst) / periodMs);
  }
}

describe("takeCell", () => {
  it("decides like a token bucket while the clock runs forward", () => {
    fc.assert(
      fc.property(rate, fc.array(fc.double({ min: 0, max: 3, noNaN: true }), { maxLength: 300 }), (rate, steps) => {
        const bucket = new TokenBucket(rate, NOW);
        let [nowMs, paidAtMs]: [number, PaidAtMs] = [NOW, 0];
        for (const cells of steps) {
          nowMs += Math.round((cells * rate.periodMs) / rate.burst);
          if (bucket.isClose(nowMs)) return;
          const step = takeCell(paidAtMs, rate, nowMs);
          expect(step.ok).toBe(bucket.take(nowMs));
          if (step.ok) paidAtMs = step.paidAtMs;
        }
      }),
    );
  });

  it("if a request passes at a time, it also passes at a later time", () => {
    const aheadMs = fc.integer({ min: 0, max: 3_600_000 });
    fc.assert(
      fc.property(rate, aheadMs, fc.nat(3_600_000), (rate, aheadMs, laterMs) => {
        fc.pre(aheadMs <= rate.periodMs + rate.periodMs / rate.burst);
        const earlier = takeCell(NOW + aheadMs, rate, NOW);
        const later = takeCell(NOW + aheadMs, rate, NOW + laterMs);
        if (earlier.ok) expect(later.ok).toBe(true);
        if (!earlier.ok && !later.ok) expect(later.retryAfterSeconds).toBeLessThanOrEqual(earlier.retryAfterSeconds);
      }),
    );
  });

  it("after any backward clock step, a request waits for at most a period and one request, and then passes", () => {
    const jump = fc.integer({ min: -1e10, max: 1e10 });
    fc.assert(
      fc.property(rate, fc.array(fc.record({ jumpMs: jump, takes: fc.nat(50) }), { maxLength: 30 }), (rate, steps) => {
        let [nowMs, paidAtMs]: [number, PaidAtMs] = [NOW, 0];
        for (const { jumpMs, takes } of steps) {
          nowMs += jumpMs;
          for (let i = 0; i < takes; i++) {
            const step = takeCell(paidAtMs, rate, nowMs);
            if (step.ok) paidAtMs = step.paidAtMs;
          }
          const step = takeCell(paidAtMs, rate, nowMs);
          if (step.ok) continue;
          const costMs = rate.periodMs / rate.burst;
          expect(step.retryAfterSeconds * 1_000).toBeLessThanOrEqual(rate.periodMs + 2 * costMs + 1_000);
          nowMs += step.retryAfterSeconds * 1_000;
          expect(takeCell(paidAtMs, rate, nowMs).ok).toBe(true);
        }
      }),
    );
  });

  it("stores the theoretical arrival time, one cell later for each request", () => {
    const rate = { burst: 60, periodMs: 60_000 };
    const first = takeCell(0, rate, NOW);
    expect(first).toEqual({ ok: true, paidAtMs: NOW + 1_000 });
    expect(takeCell(NOW + 1_000, rate, NOW)).toEqual({ ok: true, paidAtMs: NOW + 2_000 });
    expect(takeCell(NOW + 1_000, rate, NOW + 5_000)).toEqual({ ok: true, paidAtMs: NOW + 6_000 });
  });

  it("leaves the reserved part to other callers", () => {
    const rate = { burst: 10, periodMs: 10_000, reserved: 0.5 };
    expect(takeCell(NOW + 4_000, rate, NOW).ok).toBe(true);
    expect(takeCell(NOW + 5_000, rate, NOW)).toEqual({ ok: false, retryAfterSeconds: 1 });
    expect(takeCell(NOW + 5_000, { ...rate, reserved: 0 }, NOW).ok).toBe(true);
  });
});

describe("a charge of any size", () => {
  it("that exceeds the burst waits, and can be refunded", () => {
    const most = 20_000;
    const paidAtMs = charge(0, 15_000, most, NOW);
    expect(paidAtMs).toBe(NOW + 15_000);
    expect(waitMs(owedMs(paidAtMs, most, NOW), 10_000)).toBe(5_000);
    expect(charge(paidAtMs, -12_000, most, NOW)).toBe(NOW + 3_000);
    expect(charge(paidAtMs, -99_000, most, NOW)).toBe(NOW);
  });

  it("counts as paid once it is further ahead than any debt can be", () => {
    expect(owedMs(NOW + 20_000, 20_000, NOW)).toBe(20_000);
    expect(owedMs(NOW + 20_001, 20_000, NOW)).toBe(0);
  });
});

describe("a debt", () => {
  it("is paid only by elapsed time, whichever way the clock steps", () => {
    const steps = fc.array(fc.integer({ min: -1e9, max: 1e5 }), { maxLength: 50 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1_000 }), steps, (owed, steps) => {
        let debt = { owed, atMs: NOW };
        let passedMs = 0;
        for (const stepMs of steps) {
          passedMs += Math.max(0, stepMs);
          debt = payDebt(debt, { burst: 60, periodMs: 60_000 }, debt.atMs + stepMs);
          expect(debt.owed).toBeCloseTo(Math.max(0, owed - passedMs / 1_000), 6);
        }
      }),
    );
  });

  it("is the same limit as a theoretical arrival time", () => {
    const steps = fc.array(fc.record({ afterMs: fc.nat(5_000), costMs: fc.nat(3_000) }), { maxLength: 100 });
    fc.assert(
      fc.property(steps, (steps) => {
        let [nowMs, paidAtMs, debt] = [NOW, 0, { owed: 0, atMs: NOW }];
        for (const { afterMs, costMs } of steps) {
          nowMs += afterMs;
          paidAtMs = charge(paidAtMs, costMs, Number.POSITIVE_INFINITY, nowMs);
          debt = payDebt(debt, { burst: 1, periodMs: 1 }, nowMs);
          debt = { ...debt, owed: debt.owed + costMs };
          expect(debt.atMs + debt.owed).toBe(paidAtMs);
        }
      }),
    );
  });
});
