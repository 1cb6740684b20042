import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BodyPace } from "../../../edge/accounts/body-pace-tracker.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const NOW = Date.UTC(2026, 0, 1);
const KIB = 1_024;

describe("the pace of a key's large bodies", () => {
  it.each<[what: string, bodiesKib: number[], waitsMs: number[]]>([
    ["spaces bodies by the size of the one before", [100, 200, 50], [0, 20, 60]],
    ["spaces very large bodies by no more than the maximum", [4_096, 4_096, 4_096], [0, 50, 100]],
    ["lets small bodies pass at once", [200, 31, 200], [0, 0, 40]],
  ])("%s", (_what, bodiesKib, waitsMs) => {
    const pace = new BodyPace();
    expect(bodiesKib.map((kib) => pace.waitMs("key", kib * KIB, NOW))).toEqual(waitsMs);
  });

  it("is separate for each key, and ends with time", () => {
    const pace = new BodyPace();
    pace.waitMs("key", 200 * KIB, NOW);
    expect(pace.waitMs("other", 200 * KIB, NOW)).toBe(0);
    expect(pace.waitMs("key", 200 * KIB, NOW + 40)).toBe(0);
  });

  it("forgets keys that are idle", () => {
    const pace = new BodyPace();
    for (let i = 0; i < 100; i++) pace.waitMs(`key ${i}`, 200 * KIB, NOW);
    expect(pace.keys).toBe(100);
    pace.waitMs("key", 0, NOW + 1_000);
    expect(pace.keys).toBe(0);
  });

  it("does not hold up a key after a backward clock step", () => {
    const pace = new BodyPace();
    pace.waitMs("key", 200 * KIB, NOW);
    expect(pace.waitMs("key", 200 * KIB, NOW - 86_400_000)).toBe(0);
  });

  it("holds no body longer than the bytes in flight allow", () => {
    const mostMs = (LIMITS.keyBodiesBytes / KIB) * LIMITS.bodyPaceMsPerKib;
    const sizes = fc.array(fc.integer({ min: 0, max: LIMITS.clientBodyBytes }), { maxLength: 200 });
    fc.assert(
      fc.property(sizes, (all) => {
        const pace = new BodyPace();
        let underWay = 0;
        for (const bytes of all) {
          underWay += bytes;
          if (underWay > LIMITS.keyBodiesBytes) break;
          expect(pace.waitMs("key", bytes, NOW)).toBeLessThanOrEqual(mostMs);
        }
      }),
    );
  });
});
