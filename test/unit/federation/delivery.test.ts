import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  afterTry,
  type Circuit,
  CLOSED_CIRCUIT,
  circuitState,
  type Delivery,
  endTry,
  newDelivery,
  type Outcome,
  peerIsBack,
  startTry,
} from "../../../edge/federation/delivery/delivery-machine.ts";
import { backoffMs } from "../../../edge/limits/backoff-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const NOW = 1_776_358_800_000;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const answered = (status: number, retryAfterSeconds: number | null = null): Outcome => ({
  type: "answered",
  status,
  retryAfterSeconds,
});
const unreachable: Outcome = { type: "unreachable" };
const garbled: Outcome = { type: "garbled" };
const off: Outcome = { type: "off" };

describe("one message", () => {
  const retried = (changes: Partial<Delivery>) => ({
    type: "retry",
    delivery: { tries: 0, deferrals: 0, nextAtMs: NOW, ...changes },
  });
  it.each<[what: string, outcome: Outcome, given: Partial<Delivery>, want: object]>([
    ["200", answered(200), {}, { type: "delivered" }],
    ["202", answered(202), {}, { type: "delivered" }],
    ["404 ends it", answered(404), {}, { type: "given-up", reason: "gone" }],
    ["410 ends it", answered(410), {}, { type: "given-up", reason: "gone" }],
    ["500", answered(500), {}, retried({ tries: 1, nextAtMs: NOW + 2_500 })],
    ["401: a clock may be wrong", answered(401), {}, retried({ tries: 1, nextAtMs: NOW + 2_500 })],
    ["an unreadable answer", garbled, {}, retried({ tries: 1, nextAtMs: NOW + 2_500 })],
    ["no answer", unreachable, {}, retried({ tries: 1, nextAtMs: NOW + 2_500 })],
    ["429 without Retry-After", answered(429), {}, retried({ tries: 1, nextAtMs: NOW + 2_500 })],
    ["429 with Retry-After", answered(429, 7), {}, retried({ deferrals: 1, nextAtMs: NOW + 7_000 })],
    ["429 with Retry-After 0", answered(429, 0), {}, retried({ deferrals: 1, nextAtMs: NOW + 1_000 })],
    [
      "429 with a Retry-After of a year",
      answered(429, 31_536_000),
      {},
      retried({ deferrals: 1, nextAtMs: NOW + 12 * HOUR }),
    ],
    ["503 with Retry-After is a failure", answered(503, 7), {}, retried({ tries: 1, nextAtMs: NOW + 2_500 })],
    ["the ninth failure", unreachable, { tries: 8 }, retried({ tries: 9, nextAtMs: NOW + 6 * HOUR + 500 })],
    ["the tenth failure", unreachable, { tries: 9 }, { type: "given-up", reason: "tries" }],
    ["the tenth try delivers", answered(200), { tries: 9 }, { type: "delivered" }],
    ["federation is off", off, {}, retried({ deferrals: 1, nextAtMs: NOW + 2_500 })],
    [
      "federation is off for long",
      off,
      { deferrals: 50 },
      retried({ deferrals: 51, nextAtMs: NOW + 15 * MINUTE + 500 }),
    ],
    ["federation is off after failures", off, { tries: 9 }, retried({ tries: 9, deferrals: 1, nextAtMs: NOW + 2_500 })],
    ["federation is off, too often", off, { deferrals: 100 }, { type: "given-up", reason: "tries" }],
    ["429, too often", answered(429, 1), { deferrals: 100 }, { type: "given-up", reason: "tries" }],
  ])("%s", (_what, outcome, given, want) => {
    expect(afterTry({ ...newDelivery(NOW), ...given }, outcome, NOW, 0.5)).toEqual(want);
  });

  it("waits from 1 s to 12 h, with full jitter under a growing ceiling", () => {
    const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), random, (tries, r) => {
        expect(backoffMs(tries, r)).toBeGreaterThanOrEqual(1_000);
        expect(backoffMs(tries, r)).toBeLessThanOrEqual(12 * HOUR);
        expect(backoffMs(tries, r)).toBeLessThanOrEqual(backoffMs(tries + 1, r));
      }),
    );
    expect(backoffMs(1, 0)).toBe(1_000);
    expect(backoffMs(1, 1)).toBe(4_000);
    expect(backoffMs(9, 1)).toBe(12 * HOUR);
  });

  it("to a peer whose federation is off is tried for about a day", () => {
    let delivery = newDelivery(NOW);
    for (;;) {
      const step = afterTry(delivery, off, delivery.nextAtMs, 0.5);
      if (step.type !== "retry") break;
      delivery = step.delivery;
    }
    expect((delivery.nextAtMs - NOW) / HOUR).toBeCloseTo(24, 0);
  });

  it("ends after a bounded number of tries, whatever the peer answers", () => {
    const outcome = fc.oneof(
      fc.constant(off),
      fc.constant(unreachable),
      fc.constant(garbled),
      fc.record({
        type: fc.constant("answered" as const),
        status: fc.integer({ min: 100, max: 599 }),
        retryAfterSeconds: fc.option(fc.nat(), { nil: null }),
      }),
    );
    fc.assert(
      fc.property(fc.infiniteStream(fc.oneof(outcome, fc.constant(answered(429, 60)))), (outcomes) => {
        let delivery = newDelivery(NOW);
        let tries = 0;
        for (const one of outcomes) {
          const step = afterTry(delivery, one, delivery.nextAtMs, 0.5);
          tries++;
          if (step.type !== "retry") break;
          expect(step.delivery.nextAtMs).toBeGreaterThan(delivery.nextAtMs);
          delivery = step.delivery;
        }
        expect(tries).toBeLessThanOrEqual(LIMITS.deliveryTries + LIMITS.deliveryDeferrals);
      }),
    );
  });
});

describe("the circuit", () => {
  /** `times` tries that end in `outcome`, `gapMs` apart, from `NOW` on. */
  function ended(times: number, outcome: Outcome, gapMs: number, given: Circuit = CLOSED_CIRCUIT) {
    let circuit = given;
    const changes: string[] = [];
    for (let i = 0; i < times; i++) {
      const end = endTry(circuit, outcome, NOW + i * gapMs);
      circuit = end.circuit;
      if (end.change !== null) changes.push(end.change);
    }
    return { circuit, changes };
  }
  const opened: Circuit = { failedAtMs: [], openedAtMs: NOW, probeUntilMs: null };

  it.each<[what: string, times: number, outcome: Outcome, gapMs: number, changes: string[]]>([
    ["four failures", 4, unreachable, 1_000, []],
    ["five failures within ten minutes", 5, unreachable, 2 * MINUTE, ["opened"]],
    ["five failures, the first ten minutes ago", 5, unreachable, 2.5 * MINUTE, []],
    ["continued failures", 9, unreachable, 1_000, ["opened"]],
    ["server errors", 5, answered(500), 1_000, ["opened"]],
    ["garbage", 5, garbled, 1_000, ["opened"]],
    ["refusals", 9, answered(400), 1_000, []],
    ["refusals of our signature", 9, answered(401), 1_000, []],
    ["not found", 9, answered(404), 1_000, []],
    ["429 with Retry-After", 9, answered(429, 5), 1_000, []],
    ["429 without Retry-After", 9, answered(429), 1_000, []],
    ["federation is off", 9, off, 1_000, []],
  ])("%s", (_what, times, outcome, gapMs, changes) => {
    expect(ended(times, outcome, gapMs).changes).toEqual(changes);
  });

  it("forgets failures after an answer", () => {
    const { circuit } = ended(4, unreachable, 1_000);
    expect(endTry(circuit, answered(200), NOW)).toEqual({ circuit: CLOSED_CIRCUIT, change: null });
  });

  it("stays open for 30 minutes, and then allows one probe at a time", () => {
    expect(startTry(opened, NOW + 30 * MINUTE - 1)).toEqual({ ok: false, retryAtMs: NOW + 30 * MINUTE });
    const probing = startTry(opened, NOW + 30 * MINUTE);
    if (!probing.ok) return expect.fail("no probe");
    const second = startTry(probing.circuit, NOW + 30 * MINUTE + 1);
    expect(second).toEqual({ ok: false, retryAtMs: NOW + 31 * MINUTE });
    // The runtime was killed in the middle of a probe: the wait for its result is bounded.
    expect(startTry(probing.circuit, NOW + 31 * MINUTE).ok).toBe(true);
    expect(endTry(probing.circuit, answered(200), NOW + 31 * MINUTE)).toEqual({
      circuit: CLOSED_CIRCUIT,
      change: "closed",
    });
    const failed = endTry(probing.circuit, unreachable, NOW + 31 * MINUTE);
    expect(failed).toEqual({ circuit: { ...opened, openedAtMs: NOW + 31 * MINUTE }, change: null });
  });

  it("allows one probe immediately when the peer is back, and the probe decides; with nothing to send it closes", () => {
    const back = peerIsBack(opened, true, NOW + MINUTE);
    expect(back.change).toBeNull();
    const probing = startTry(back.circuit, NOW + MINUTE);
    if (!probing.ok) return expect.fail("no probe");
    expect(startTry(probing.circuit, NOW + MINUTE).ok).toBe(false);
    expect(endTry(probing.circuit, answered(200), NOW + MINUTE).change).toBe("closed");
    const { circuit } = endTry(probing.circuit, unreachable, NOW + MINUTE);
    expect(startTry(circuit, NOW + MINUTE)).toEqual({ ok: false, retryAtMs: NOW + 31 * MINUTE });
    expect(peerIsBack(opened, false, NOW + MINUTE)).toEqual({ circuit: CLOSED_CIRCUIT, change: "closed" });
    for (const circuit of [CLOSED_CIRCUIT, probing.circuit]) {
      expect(peerIsBack(circuit, true, NOW + MINUTE)).toEqual({ circuit, change: null });
    }
  });

  it.each<[what: string, circuit: Circuit, nowMs: number, state: string]>([
    ["new", CLOSED_CIRCUIT, NOW, "closed"],
    ["just opened", opened, NOW, "open"],
    ["after 30 minutes", opened, NOW + 30 * MINUTE, "half-open"],
    ["after the wall clock stepped back", opened, NOW - 1, "half-open"],
  ])("is %s: %o", (_what, circuit, nowMs, state) => expect(circuitState(circuit, nowMs)).toBe(state));

  it("a probe from before a backward clock step blocks nothing", () => {
    const probing = { ...opened, probeUntilMs: NOW + 31 * MINUTE };
    expect(startTry(probing, NOW - HOUR).ok).toBe(true);
  });

  it("opens and closes alternately in any history, and never allows two probes within a minute", () => {
    const move = fc.record({ gapMs: fc.nat({ max: 20 * MINUTE }), failed: fc.boolean(), ends: fc.boolean() });
    fc.assert(
      fc.property(fc.array(move, { maxLength: 100 }), (moves) => {
        let circuit = CLOSED_CIRCUIT;
        let nowMs = NOW;
        let lastChange = "closed";
        let probeAtMs = Number.NEGATIVE_INFINITY;
        for (const { gapMs, failed, ends } of moves) {
          nowMs += gapMs;
          const start = startTry(circuit, nowMs);
          if (!start.ok) {
            expect(start.retryAtMs).toBeGreaterThan(nowMs);
            continue;
          }
          if (circuitState(circuit, nowMs) === "half-open") {
            expect(nowMs - probeAtMs).toBeGreaterThanOrEqual(LIMITS.circuitProbeMs);
            probeAtMs = nowMs;
          }
          circuit = start.circuit;
          // A try without a result: the runtime was killed.
          if (!ends) continue;
          const end = endTry(circuit, failed ? unreachable : answered(200), nowMs);
          circuit = end.circuit;
          if (end.change === null) continue;
          expect(end.change).not.toBe(lastChange);
          lastChange = end.change;
          probeAtMs = Number.NEGATIVE_INFINITY;
        }
      }),
    );
  });
});
