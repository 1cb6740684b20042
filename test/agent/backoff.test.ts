import fc from "fast-check";
import { expect, it } from "vitest";
import { backoffMs } from "../../worker-agent/session/backoff-rules.ts";

const MINUTES = 60_000;

it.each<[attempt: number, outageMs: number, random: number, wantMs: number]>([
  [0, 0, 0, 1_000],
  [0, 0, 0.5, 1_500],
  [1, 1_500, 0.5, 2_500],
  [3, 6_000, 0.999_999, 10_000],
  [100, 5 * MINUTES - 1, 0.999_999, 10_000],
  [100, 5 * MINUTES, 0, 1_000],
  [100, 5 * MINUTES, 0.999_999, 60_000],
])("attempt %i, %i ms into an outage, at %f waits %i ms", (attempt, outageMs, random, wantMs) =>
  expect(backoffMs({ attempt, outageMs, random })).toBe(wantMs),
);

it("stays between a second and a minute, and spreads wider with every failure", () => {
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(fc.nat(), fc.nat(), random, (attempt, outageMs, at) => {
      const waitMs = backoffMs({ attempt, outageMs, random: at });
      expect(waitMs).toBeGreaterThanOrEqual(1_000);
      expect(waitMs).toBeLessThanOrEqual(60_000);
      expect(backoffMs({ attempt: attempt + 1, outageMs: outageMs + waitMs, random: at })).toBeGreaterThanOrEqual(
        waitMs,
      );
    }),
  );
});
