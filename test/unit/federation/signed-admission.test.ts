import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  peerRateLimits,
  type RateKind,
  takeRate,
  UNUSED_RATE,
} from "../../../edge/federation/signing/peer-rate-rules.ts";
import {
  afterPurge,
  expiredThroughSeconds,
  type NonceRow,
} from "../../../edge/federation/signing/replay-window-rules.ts";
import {
  type AdmissionRequest,
  admitSigned,
  NO_TRAFFIC,
  type PeerTraffic,
} from "../../../edge/federation/signing/signed-admission-rules.ts";
import { FEDERATION_POLICY_DEFAULTS } from "../../../schema/wire/federation.ts";

const PEER_RATE_LIMITS = peerRateLimits(FEDERATION_POLICY_DEFAULTS);
const NOW = 1_776_358_800_000;
const NOW_SECONDS = NOW / 1_000;

/** Stands for a `Bond`: the rules, and a table of rows that survives an eviction. */
class Table {
  traffic: PeerTraffic = NO_TRAFFIC;
  rows = new Map<string, NonceRow>();

  admit(request: AdmissionRequest, nowMs: number) {
    const step = admitSigned(this.traffic, request, this.rows.has(request.nonce), PEER_RATE_LIMITS, nowMs);
    if (step.ok) {
      this.traffic = step.traffic;
      this.rows.set(step.row.nonce, step.row);
    }
    return step;
  }

  purge(nowMs: number) {
    const through = expiredThroughSeconds(Math.floor(nowMs / 1_000));
    const gone = [...this.rows.values()].filter((row) => row.timestampSeconds <= through);
    for (const row of gone) this.rows.delete(row.nonce);
    this.traffic = {
      ...this.traffic,
      purgedThroughSeconds: afterPurge(
        this.traffic.purgedThroughSeconds,
        Math.max(...gone.map((row) => row.timestampSeconds)),
      ),
    };
  }

  /** Reloads the stored values, as after an eviction. */
  evict() {
    this.traffic = JSON.parse(JSON.stringify(this.traffic));
    this.rows = new Map(JSON.parse(JSON.stringify([...this.rows])));
  }

  get contents() {
    return JSON.stringify([this.traffic, [...this.rows]]);
  }
}

const request = (changes: Partial<AdmissionRequest> = {}): AdmissionRequest => ({
  version: 2,
  kind: "request",
  nonce: "a",
  timestampSeconds: NOW_SECONDS,
  ...changes,
});
const outcome = (step: ReturnType<typeof admitSigned>) =>
  step.ok ? "admitted" : step.code === "federation/rate-limited" ? "rate-limited" : step.reason;

describe("a signed request at the peer's Bond", () => {
  it.each<[what: string, changes: Partial<AdmissionRequest>, nowMs: number, want: string]>([
    ["in time", { nonce: "new" }, NOW, "admitted"],
    ["a replay", {}, NOW, "replayed"],
    ["a replay at the end of the window", {}, NOW + 60_000, "replayed"],
    ["a replay after the window", {}, NOW + 61_000, "clock-skew"],
    ["60 s early", { nonce: "new", timestampSeconds: NOW_SECONDS + 60 }, NOW, "admitted"],
    ["61 s early", { nonce: "new", timestampSeconds: NOW_SECONDS + 61 }, NOW, "clock-skew"],
    ["60 s late", { nonce: "new", timestampSeconds: NOW_SECONDS - 60 }, NOW, "admitted"],
    ["61 s late", { nonce: "new", timestampSeconds: NOW_SECONDS - 61 }, NOW, "clock-skew"],
    ["version 1 after version 2", { nonce: "new", version: 1 }, NOW, "version-1-refused"],
  ])("%s", (_what, changes, nowMs, want) => {
    const table = new Table();
    expect(outcome(table.admit(request(), NOW))).toBe("admitted");
    expect(outcome(table.admit(request(changes), nowMs))).toBe(want);
  });

  it("version 1 is accepted until the peer uses version 2, and never after", () => {
    const table = new Table();
    expect(outcome(table.admit(request({ version: 1, nonce: "1" }), NOW))).toBe("admitted");
    expect(outcome(table.admit(request({ version: 1, nonce: "2" }), NOW))).toBe("admitted");
    expect(outcome(table.admit(request({ version: 2, nonce: "3" }), NOW))).toBe("admitted");
    table.evict();
    expect(outcome(table.admit(request({ version: 1, nonce: "4" }), NOW))).toBe("version-1-refused");
  });

  it("a purged nonce is refused when the wall clock steps back into its window", () => {
    const table = new Table();
    table.admit(request(), NOW);
    table.purge(NOW + 119_000);
    expect(table.rows.size).toBe(1);
    table.purge(NOW + 120_000);
    expect(table.rows.size).toBe(0);
    expect(outcome(table.admit(request(), NOW))).toBe("replayed");
    expect(outcome(table.admit(request({ nonce: "b", timestampSeconds: NOW_SECONDS - 1 }), NOW))).toBe("replayed");
    expect(outcome(table.admit(request({ nonce: "c", timestampSeconds: NOW_SECONDS + 1 }), NOW))).toBe("admitted");
  });

  it("60 requests pass at once, then one a second; a limited request stores nothing", () => {
    const table = new Table();
    for (let i = 0; i < 60; i++) expect(outcome(table.admit(request({ nonce: `${i}` }), NOW))).toBe("admitted");
    const before = table.contents;
    const limited = table.admit(request({ nonce: "60" }), NOW);
    expect(limited).toEqual({ ok: false, code: "federation/rate-limited", retryAfterSeconds: 1 });
    expect(table.contents).toBe(before);
    expect(outcome(table.admit(request({ nonce: "60" }), NOW + 1_000))).toBe("admitted");
    expect(outcome(table.admit(request({ nonce: "61" }), NOW + 1_000))).toBe("rate-limited");
    // Event endpoints have a separate rate.
    expect(outcome(table.admit(request({ nonce: "62", kind: "event" }), NOW + 1_000))).toBe("admitted");
  });

  it("a replay does not use up the rate of its victim", () => {
    const table = new Table();
    table.admit(request(), NOW);
    for (let i = 0; i < 1_000; i++) expect(outcome(table.admit(request(), NOW))).toBe("replayed");
    for (let i = 0; i < 59; i++) expect(outcome(table.admit(request({ nonce: `${i}` }), NOW))).toBe("admitted");
  });
});

type Move =
  | { do: "request"; nonce: number; offsetSeconds: number; kind: "request" | "event"; version: 1 | 2 }
  | { do: "clock"; ms: number }
  | { do: "purge" }
  | { do: "evict" };
const move: fc.Arbitrary<Move> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("request" as const),
      nonce: fc.nat({ max: 6 }),
      offsetSeconds: fc.integer({ min: -90, max: 90 }),
      kind: fc.constantFrom("request" as const, "event" as const),
      version: fc.constantFrom(1 as const, 2 as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("clock" as const), ms: fc.integer({ min: -4e5, max: 4e5 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("purge" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("evict" as const) }) },
);

it("a signed request is admitted at most once, for any order of requests, purges, evictions and clock steps", () => {
  fc.assert(
    fc.property(fc.array(move, { maxLength: 80 }), (moves) => {
      const table = new Table();
      // A signature binds nonce and timestamp: each nonce is signed once, and later requests with it are copies.
      const signed = new Map<string, AdmissionRequest>();
      const admitted = new Set<string>();
      let nowMs = NOW;
      for (const move of moves) {
        if (move.do === "clock") nowMs += move.ms;
        else if (move.do === "purge") table.purge(nowMs);
        else if (move.do === "evict") table.evict();
        else {
          const nonce = `${move.nonce}`;
          const timestampSeconds = Math.floor(nowMs / 1_000) + move.offsetSeconds;
          const one = signed.get(nonce) ?? { nonce, timestampSeconds, kind: move.kind, version: move.version };
          signed.set(nonce, one);
          const before = table.contents;
          const step = table.admit(one, nowMs);
          if (step.ok) expect(admitted.has(nonce)).toBe(false);
          else expect(table.contents).toBe(before);
          if (step.ok) admitted.add(nonce);
        }
      }
    }),
    { numRuns: 1_000 },
  );
});

it("the rate bounds the number of rows, for any speed of requests", () => {
  const table = new Table();
  let most = 0;
  for (let ms = 0; ms < 600_000; ms += 100) {
    for (let i = 0; i < 20; i++) {
      const nowMs = NOW + ms;
      // As far ahead as allowed, so that it is kept longest.
      table.admit(request({ nonce: `${ms}-${i}`, timestampSeconds: Math.floor(nowMs / 1_000) + 60 }), nowMs);
    }
    if (ms % 10_000 === 0) table.purge(NOW + ms);
    most = Math.max(most, table.rows.size);
  }
  // A burst, and one a second during window, retention and the time between purges.
  expect(most).toBeLessThanOrEqual(60 + 60 + 120 + 10 + 1);
});

describe("the rate", () => {
  it.each<[kind: RateKind, burst: number, periodMs: number]>([
    ["request", 60, 60_000],
    ["event", 60, 1_000],
    ["grant", 10, 3_600_000],
  ])("of kind %s allows a burst of %i, and as many in each %i ms", (kind, burst, periodMs) => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: periodMs / 20 }), { minLength: 100, maxLength: 400 }), (gapsMs) => {
        let rate = UNUSED_RATE;
        let nowMs = NOW;
        let admitted = 0;
        for (const gapMs of gapsMs) {
          nowMs += gapMs;
          const step = takeRate(rate, kind, PEER_RATE_LIMITS, nowMs);
          if (!step.ok) continue;
          rate = step.rate;
          admitted++;
        }
        expect(admitted).toBeLessThanOrEqual(burst + ((nowMs - NOW) / periodMs) * burst + 1);
      }),
    );
  });

  it.each<RateKind>(["request", "grant"])("admits a limited peer that waits for Retry-After: %s", (kind) => {
    let rate = UNUSED_RATE;
    let nowMs = NOW;
    for (let i = 0; i < 200; i++) {
      const step = takeRate(rate, kind, PEER_RATE_LIMITS, nowMs);
      if (step.ok) rate = step.rate;
      else {
        nowMs += step.retryAfterSeconds * 1_000;
        expect(takeRate(rate, kind, PEER_RATE_LIMITS, nowMs).ok).toBe(true);
      }
    }
  });

  it("reads a value that was stored before newer kinds existed", () => {
    const stored = { requestsPaidAtMs: NOW + 60_000, eventsPaidAtMs: NOW };
    expect(takeRate(stored, "request", PEER_RATE_LIMITS, NOW).ok).toBe(false);
    const paidAtMs = NOW + 360_000;
    expect(takeRate(stored, "grant", PEER_RATE_LIMITS, NOW)).toEqual({
      ok: true,
      rate: { ...stored, grantsPaidAtMs: paidAtMs },
    });
  });

  it("locks no peer out after the wall clock steps back by a day", () => {
    let rate = UNUSED_RATE;
    for (let i = 0; i < 61; i++) {
      const step = takeRate(rate, "request", PEER_RATE_LIMITS, NOW);
      if (step.ok) rate = step.rate;
    }
    expect(takeRate(rate, "request", PEER_RATE_LIMITS, NOW).ok).toBe(false);
    expect(takeRate(rate, "request", PEER_RATE_LIMITS, NOW - 86_400_000).ok).toBe(true);
  });
});
