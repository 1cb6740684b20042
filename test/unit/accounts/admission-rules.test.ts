import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  admit,
  admitLookup,
  charge,
  type KeyLimits,
  newTraffic,
  recordUsage,
  renew,
} from "../../../edge/accounts/admission-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const limits: KeyLimits = { requestsPerMinute: 60, tokensPerMinute: 600, streams: 2 };
const whole = (slot: string) => ({ slot, stream: false });
const stream = (slot: string) => ({ slot, stream: true });

it("admits ten lookups per second beside all other requests, and more for a key with a higher rate", () => {
  for (const [requestsPerMinute, most] of [
    [60, LIMITS.keyLookupsPerMinute],
    [6_000, 6_000],
  ] as const) {
    const ofKey = { ...limits, requestsPerMinute };
    const { lookups: _, ...stored } = newTraffic(ofKey, 0);
    for (let i = 0; i < most; i++) expect(admitLookup(stored, ofKey, 0).ok).toBe(true);
    expect(admitLookup(stored, ofKey, 0)).toEqual({ ok: false, code: "inference/rate-limited", retryAfterSeconds: 1 });
    expect(admit(stored, ofKey, whole("x"), 0).ok).toBe(true);
    expect(admitLookup(stored, ofKey, 1_000).ok).toBe(true);
  }
});

describe("requests per minute", () => {
  it("admit a full minute's worth at once, then one per second", () => {
    const traffic = newTraffic(limits, 0);
    for (let i = 0; i < 60; i++) expect(admit(traffic, limits, whole(`${i}`), 0).ok).toBe(true);
    expect(admit(traffic, limits, whole("x"), 0)).toMatchObject({
      ok: false,
      code: "inference/rate-limited",
      retryAfterSeconds: 1,
    });
    expect(admit(traffic, limits, whole("y"), 999).ok).toBe(false);
    expect(admit(traffic, limits, whole("z"), 1_000).ok).toBe(true);
  });

  it("are charged once where the body was charged before it was checked", () => {
    const traffic = newTraffic(limits, 0);
    expect(charge(traffic, limits, 0).ok).toBe(true);
    expect(admit(traffic, limits, { ...whole("x"), isPaid: true }, 0)).toMatchObject({
      ok: true,
      rateLimits: { requests: { remaining: limits.requestsPerMinute - 1 } },
    });
  });

  it("are not refilled by a backward clock step, and continue from the new time", () => {
    const traffic = newTraffic(limits, 100_000);
    for (let i = 0; i < 60; i++) admit(traffic, limits, whole(`${i}`), 100_000);
    expect(admit(traffic, limits, whole("x"), 0).ok).toBe(false);
    expect(admit(traffic, limits, whole("y"), 1_000).ok).toBe(true);
  });

  it("never admit more than the burst and the refill, in any schedule", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 300 }), (gaps) => {
        const traffic = newTraffic(limits, 0);
        let nowMs = 0;
        let passed = 0;
        for (const [i, gap] of gaps.entries()) {
          nowMs += gap;
          if (admit(traffic, limits, whole(`${i}`), nowMs).ok) passed += 1;
        }
        expect(passed).toBeLessThanOrEqual(60 + nowMs / 1_000 + 1);
      }),
    );
  });
});

describe("a body that is refused", () => {
  it("costs one request, and the last one states when the next may come", () => {
    const traffic = newTraffic(limits, 0);
    for (let i = 0; i < 58; i++) admit(traffic, limits, whole(`${i}`), 0);
    expect(charge(traffic, limits, 0)).toEqual({ ok: true, next: null });
    const refusal = { ok: false, code: "inference/rate-limited", retryAfterSeconds: 1 };
    expect(charge(traffic, limits, 0)).toMatchObject({ ok: true, next: refusal });
    expect(charge(traffic, limits, 999)).toMatchObject(refusal);
    expect(admit(traffic, limits, whole("x"), 999)).toMatchObject(refusal);
    // A refused charge takes nothing.
    expect(admit(traffic, limits, whole("y"), 1_000).ok).toBe(true);
  });

  it.each<[what: string, request: Parameters<typeof admit>[2]]>([
    ["a stream beyond the free slots", stream("more")],
    [
      "more answers than the key's limit",
      { ...whole("more"), moreSlots: Array.from({ length: 60 }, (_, i) => `${i}`) },
    ],
    ["more answers than free slots", { ...whole("more"), moreSlots: Array.from({ length: 57 }, (_, i) => `${i}`) }],
  ])("costs a request too if only its limits refuse it: %s", (_what, request) => {
    const traffic = newTraffic(limits, 0);
    for (const slot of ["a", "b", "c"]) admit(traffic, limits, { slot, stream: slot !== "c" }, 0);
    const refusals = Array.from({ length: 57 }, () => admit(traffic, limits, request, 0));
    expect(refusals.map(({ ok }) => ok)).not.toContain(true);
    expect(admit(traffic, limits, request, 0)).toMatchObject({ code: "inference/rate-limited", isForAll: true });
  });

  it("costs no tokens and no slot", () => {
    const traffic = newTraffic(limits, 0);
    charge(traffic, limits, 0);
    expect(traffic).toMatchObject({ tokens: { level: 600 }, slots: {} });
  });
});

describe("tokens per minute", () => {
  it("are charged when they are known, and refuse requests until the debt is paid", () => {
    const traffic = newTraffic(limits, 0);
    admit(traffic, limits, whole("a"), 0);
    recordUsage(traffic, limits, { slot: "a", tokens: 660 }, 0);
    expect(admit(traffic, limits, whole("b"), 0)).toMatchObject({
      ok: false,
      code: "inference/token-rate-limited",
      retryAfterSeconds: 7,
      rateLimits: { tokens: { limit: 600, remaining: 0 } },
    });
    expect(admit(traffic, limits, whole("c"), 7_000).ok).toBe(true);
  });
});

describe("stream slots", () => {
  it("are held by each stream until its end, and by no whole answer", () => {
    const traffic = newTraffic(limits, 0);
    for (const slot of ["a", "b"]) expect(admit(traffic, limits, stream(slot), 0).ok).toBe(true);
    expect(admit(traffic, limits, stream("c"), 0)).toMatchObject({ ok: false, code: "inference/too-many-streams" });
    expect(admit(traffic, limits, whole("d"), 0).ok).toBe(true);
    recordUsage(traffic, limits, { slot: "a", tokens: 0 }, 0);
    expect(admit(traffic, limits, stream("c"), 0).ok).toBe(true);
  });

  it("of a crashed lane expire, and renewed ones stay", () => {
    const traffic = newTraffic(limits, 0);
    admit(traffic, limits, stream("crashed"), 0);
    admit(traffic, limits, stream("alive"), 0);
    renew(traffic, ["alive"], 40_000);
    expect(admit(traffic, limits, stream("c"), LIMITS.streamSlotMs - 1).ok).toBe(false);
    expect(admit(traffic, limits, stream("c"), LIMITS.streamSlotMs).ok).toBe(true);
    expect(Object.keys(traffic.slots).toSorted()).toEqual(["alive", "c"]);
  });
});

describe("a request of several answers", () => {
  const asks = (count: number, isStream: boolean) => ({
    slot: "s0",
    moreSlots: Array.from({ length: count - 1 }, (_, i) => `s${i + 1}`),
    stream: isStream,
  });

  it("costs one request for each answer, and is admitted with all answers or none", () => {
    const traffic = newTraffic(limits, 0);
    expect(admit(traffic, limits, asks(32, false), 0)).toMatchObject({
      ok: true,
      rateLimits: { requests: { remaining: 28 } },
    });
    // Smaller requests still pass. The refused request has cost one request, which its wait includes.
    expect(admit(traffic, limits, asks(32, false), 0)).toMatchObject({
      ...{ ok: false, code: "inference/rate-limited", retryAfterSeconds: 5, isForAll: false },
    });
    expect(traffic.requests.level).toBe(27);
    expect(admit(traffic, limits, asks(27, false), 0).ok).toBe(true);
    expect(admit(traffic, limits, whole("x"), 0)).toMatchObject({ code: "inference/rate-limited", isForAll: true });
  });

  it("holds a slot for each streamed answer", () => {
    const traffic = newTraffic(limits, 0);
    expect(admit(traffic, limits, asks(2, true), 0).ok).toBe(true);
    expect(Object.keys(traffic.slots)).toEqual(["s0", "s1"]);
    recordUsage(traffic, limits, { slot: "s1", tokens: 0 }, 0);
    expect(admit(traffic, limits, asks(2, true), 0)).toMatchObject({
      code: "inference/too-many-streams",
      isForAll: false,
    });
    expect(Object.keys(traffic.slots)).toEqual(["s0"]);
  });

  it.each<[what: string, count: number, isStream: boolean, most: number]>([
    ["the key may have requests per minute", 61, false, 60],
    ["the key may have streams", 3, true, 2],
  ])("that is more than %s gets no Retry-After", (_what, count, isStream, most) => {
    const refusal = admit(newTraffic(limits, 0), limits, asks(count, isStream), 0);
    expect(refusal).toMatchObject({ ok: false, code: "inference/too-many-choices", isForAll: false });
    expect(refusal).not.toHaveProperty("retryAfterSeconds");
    expect(refusal).toMatchObject({ message: expect.stringContaining(`its key may have ${most} at once`) });
  });
});

it("a debt locks a key for at most a minute, also a larger debt that an earlier release stored", () => {
  const traffic = newTraffic(limits, 0);
  recordUsage(traffic, limits, { slot: null, tokens: 600 * 66 }, 0);
  expect(admit(traffic, limits, whole("a"), 0)).toMatchObject({
    code: "inference/token-rate-limited",
    retryAfterSeconds: 61,
  });
  expect(admit(traffic, limits, whole("b"), 60_200).ok).toBe(true);
  traffic.tokens.level = -600 * 66;
  expect(admit(traffic, limits, whole("c"), 60_200)).toMatchObject({ retryAfterSeconds: 61 });
});
