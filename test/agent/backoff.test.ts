import fc from "fast-check";
import { expect, it } from "vitest";
import { backoffMs } from "../../worker-agent/session/backoff.ts";

it.each<[attempt: number, random: number, wantMs: number]>([
  [0, 0, 1_000],
  [0, 0.5, 1_500],
  [1, 0.5, 2_500],
  [3, 0.999_999, 16_000],
  [100, 0, 1_000],
  [100, 0.999_999, 60_000],
])("attempt %i at %f waits %i ms", (attempt, random, wantMs) => expect(backoffMs(attempt, random)).toBe(wantMs));

it("stays between a second and a minute, and spreads wider with every failure", () => {
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(fc.nat(), random, (attempt, at) => {
      const waitMs = backoffMs(attempt, at);
      expect(waitMs).toBeGreaterThanOrEqual(1_000);
      expect(waitMs).toBeLessThanOrEqual(60_000);
      expect(backoffMs(attempt + 1, at)).toBeGreaterThanOrEqual(waitMs);
    }),
  );
});
