import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { takeStrangerGrant } from "../../../edge/federation/peering/stranger-rate-rules.ts";
import {
  chargeWork,
  incomingCostUs,
  largestPage,
  pageCostUs,
  restMs,
  sizeOf,
  workWaitMs,
} from "../../../edge/federation/sync/peer-work-rate-rules.ts";
import { takeCell } from "../../../edge/limits/gcra-rules.ts";
import { LIMITS } from "../../../schema/wire/limits.ts";

const NOW = 1_776_358_800_000;
const QUARTER = 250;

describe("the work of a peer", () => {
  it("is refused once the debt exceeds the burst, and the debt is paid over time", () => {
    const burstUs = LIMITS.peerWorkBurstMs * 1_000;
    const full = chargeWork(0, burstUs, QUARTER, NOW);
    expect(workWaitMs(full, QUARTER, NOW)).toBe(0);
    // A quarter of a core pays 500 ms of work in two seconds.
    const over = chargeWork(full, 500_000, QUARTER, NOW);
    expect(workWaitMs(over, QUARTER, NOW)).toBe(2_000);
    expect(workWaitMs(over, QUARTER, NOW + 2_000)).toBe(0);
    expect(chargeWork(over, 0, QUARTER, NOW + 3_600_000), "nothing is saved up").toBe(NOW + 3_600_000);
  });

  it("is refunded when it was charged and not done, but never below zero", () => {
    const charged = chargeWork(chargeWork(0, 30_000, QUARTER, NOW), -20_000, QUARTER, NOW);
    expect(charged).toBe(chargeWork(0, 10_000, QUARTER, NOW));
    expect(chargeWork(NOW, -1_000_000, QUARTER, NOW)).toBe(NOW);
  });

  it.each<[msPerSecond: number, restsMs: number]>([
    [250, 7.5],
    [500, 5],
    [1_000, 0],
    [1_000_000, 0],
  ])("at %i ms a second rests %d ms after 10 ms", (msPerSecond, restsMs) =>
    expect(restMs(10_000, msPerSecond)).toBe(restsMs),
  );

  it("delays no peer after a backward clock step", () => {
    const paidAtMs = chargeWork(0, LIMITS.peerWorkBurstMs * 1_000, QUARTER, NOW);
    expect(workWaitMs(paidAtMs, QUARTER, NOW - 86_400_000)).toBe(0);
  });

  it("in any period is at most the share, the burst and one request", () => {
    const most = incomingCostUs({ events: 100, chars: 1_048_576 }, { events: 100, chars: 1_048_576 });
    fc.assert(
      fc.property(
        fc.array(fc.record({ afterMs: fc.nat(500), costUs: fc.nat(Math.ceil(most)) }), { maxLength: 400 }),
        (asked) => {
          let [nowMs, paidAtMs, doneUs] = [NOW, 0, 0];
          for (const { afterMs, costUs } of asked) {
            nowMs += afterMs;
            if (workWaitMs(paidAtMs, QUARTER, nowMs) > 0) continue;
            paidAtMs = chargeWork(paidAtMs, costUs, QUARTER, nowMs);
            doneUs += costUs;
          }
          expect(doneUs).toBeLessThanOrEqual((nowMs - NOW) * QUARTER + LIMITS.peerWorkBurstMs * 1_000 + most + 1_000);
        },
      ),
    );
  });

  it("counts known events, and new events more", () => {
    const all = { events: 100, chars: 1_048_576 };
    const none = { events: 0, chars: 0 };
    expect(incomingCostUs(all, none)).toBeGreaterThan(5_000);
    expect(incomingCostUs(all, all)).toBeGreaterThan(3 * incomingCostUs(all, none));
    expect(pageCostUs(largestPage(LIMITS.eventsPerPull))).toBeGreaterThan(pageCostUs({ events: 500, chars: 500 }));
    expect(pageCostUs(largestPage(1))).toBeLessThan(pageCostUs(largestPage(LIMITS.eventsPerPull)));
    expect(sizeOf([{ event: { event_bytes: "abcd" } }, { event: { event_bytes: "ef" } }])).toEqual({
      events: 2,
      chars: 6,
    });
  });
});

describe("grants of all peers below trust 2", () => {
  it("leave half of the burst for first tries", () => {
    const taken = { again: 0, first: 0 };
    let paidAtMs = 0;
    for (const kind of ["again", "first"] as const) {
      for (;;) {
        const step = takeStrangerGrant(paidAtMs, kind === "first", NOW);
        if (!step.ok) break;
        paidAtMs = step.paidAtMs;
        taken[kind] += 1;
      }
    }
    expect(taken).toEqual({ again: LIMITS.strangerGrantsPerMinute / 2, first: LIMITS.strangerGrantsPerMinute / 2 });
    expect(takeStrangerGrant(paidAtMs, false, NOW)).toEqual({ ok: false, retryAfterSeconds: 32 });
    expect(takeStrangerGrant(paidAtMs, true, NOW)).toEqual({ ok: false, retryAfterSeconds: 2 });
    expect(takeStrangerGrant(paidAtMs, true, NOW + 2_000).ok).toBe(true);
  });

  it("let every new peer try while as many peers as may register send invalid grants", () => {
    const everyMs = 60_000 / LIMITS.registrationsPerMinute;
    let [paidAtMs, refused] = [0, 0];
    const tries = (isFirst: boolean, nowMs: number) => {
      const step = takeStrangerGrant(paidAtMs, isFirst, nowMs);
      if (step.ok) paidAtMs = step.paidAtMs;
      return step.ok;
    };
    for (let nowMs = NOW; nowMs < NOW + 3_600_000; nowMs += everyMs) {
      expect(tries(true, nowMs)).toBe(true);
      for (let more = 1; more < LIMITS.peerGrantsPerHour; more++) if (!tries(false, nowMs)) refused += 1;
    }
    expect(refused).toBeGreaterThan(0);
  });
});

describe("a cell rate", () => {
  it.each<[what: string, paidAheadMs: number, ok: boolean]>([
    ["with nothing owed passes", 0, true],
    ["with all but one owed passes", 900, true],
    ["with a full burst owed does not", 1_000, false],
    ["with more than can be owed passes: the clock stepped back", 5_000, true],
  ])("%s", (_what, paidAheadMs, ok) =>
    expect(takeCell(NOW + paidAheadMs, { burst: 10, periodMs: 1_000 }, NOW).ok).toBe(ok),
  );
});
