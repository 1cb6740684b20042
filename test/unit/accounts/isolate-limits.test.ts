import { describe, expect, it } from "vitest";
import { BodiesInFlight } from "../../../edge/accounts/bodies-in-flight-tracker.ts";
import { RefusedKeys } from "../../../edge/limits/refused-keys.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

describe("a refusal that an isolate remembers", () => {
  it.each<[what: string, nowMs: number, left: number | null]>([
    ["applies immediately", 1_000, 5],
    ["applies until its end, with the remaining time", 5_999, 1],
    ["ends", 6_000, null],
    ["is forgotten when the clock steps back", 999, null],
  ])("%s", (_what, nowMs, left) => {
    const refused = new RefusedKeys<{ retryAfterSeconds: number }>();
    refused.remember("k", { retryAfterSeconds: 5 }, 1_000);
    expect(refused.find("k", nowMs)?.refusal.retryAfterSeconds ?? null).toBe(left);
    expect(refused.find("other", nowMs)).toBeNull();
  });

  it("is dropped when there are too many newer ones", () => {
    const refused = new RefusedKeys<{ retryAfterSeconds: number }>();
    for (let i = 0; i <= LIMITS.refusedKeysKept; i++) refused.remember(`k${i}`, { retryAfterSeconds: 5 }, 0);
    expect([refused.find("k0", 0), refused.find("k1", 0)]).toMatchObject([null, { refusal: { retryAfterSeconds: 5 } }]);
  });

  it("that lasts for hours is forgotten after a minute, and states its remaining time until then", () => {
    const refused = new RefusedKeys<{ retryAfterSeconds: number }>();
    refused.remember("k", { retryAfterSeconds: 7_200 }, 0);
    expect(refused.find("k", 30_500)).toEqual({ refusal: { retryAfterSeconds: 7_170 }, ageSeconds: 30.5 });
    expect(refused.find("k", LIMITS.refusalKeptMs)).toBeNull();
  });
});

describe("bodies in flight", () => {
  const most = LIMITS.keyBodiesBytes / LIMITS.clientBodyBytes;
  const full = (bodies: BodiesInFlight) =>
    Array.from({ length: most }, () => bodies.begin("k", LIMITS.clientBodyBytes, 0)).at(-1);

  it("are bounded for each key, by bytes, until they have been read", () => {
    const bodies = new BodiesInFlight(LIMITS.keyBodiesBytes);
    const done = full(bodies);
    expect([bodies.begin("k", 1, 0), bodies.begin("k", 0, 0) !== null]).toEqual([null, true]);
    expect(bodies.begin("other", LIMITS.clientBodyBytes, 0)).not.toBeNull();
    done?.();
    expect(bodies.begin("k", LIMITS.clientBodyBytes, 0)).not.toBeNull();
  });

  it("of many keys leave no entry, whether they were read or their clients left", () => {
    const bodies = new BodiesInFlight(LIMITS.keyBodiesBytes);
    for (let i = 0; i < 1_000; i++) {
      const done = bodies.begin(`k${i}`, 1, i);
      if (i % 2 === 0) done?.();
    }
    expect(bodies.keys).toBe(500);
    // A body that is still being sent is kept, at any position.
    bodies.begin("k1", 1, LIMITS.bodyReadMs);
    bodies.begin("other", 1, 998 + LIMITS.bodyReadMs);
    expect(bodies.keys).toBe(3);
    bodies.begin("other", 1, 2 * LIMITS.bodyReadMs + 1_000);
    expect(bodies.keys).toBe(1);
  });

  it.each([LIMITS.bodyReadMs, -1])("of clients that left are forgotten, at %i ms", (nowMs) => {
    const bodies = new BodiesInFlight(LIMITS.keyBodiesBytes);
    full(bodies);
    expect(bodies.begin("k", LIMITS.clientBodyBytes, nowMs)).not.toBeNull();
  });
});
